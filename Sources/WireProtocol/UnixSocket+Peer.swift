import CPlatform
import Glibc
import SystemPackage

extension UnixSocket {
    /// The most supplementary groups that Linux gives a process (NGROUPS_MAX).
    private static let maxGroups = 65_536

    /// The supplementary groups that the peer had when the connection was made.
    public func peerGroups() throws(WireError) -> [UInt32] {
        // Few have more than these.
        var result = groups(capacity: 64)
        if case .failure(Errno(rawValue: ERANGE)) = result {
            result = groups(capacity: Self.maxGroups)
        }
        switch result {
        case .success(let groups): return groups
        case .failure(let error):
            throw WireError(error, "the peer's groups cannot be read")
        }
    }

    private func groups(capacity: Int) -> Result<[UInt32], Errno> {
        var error: Errno?
        let groups = [UInt32](unsafeUninitializedCapacity: capacity) { buffer, count in
            let result = gpuvm_peer_groups(rawValue, buffer.baseAddress, UInt32(capacity))
            count = max(0, Int(result))
            if result < 0 { error = Errno(rawValue: -result) }
        }
        return error.map { .failure($0) } ?? .success(groups)
    }

    /// Whether a message, or the end, is there or comes within `nanoseconds`.
    public func becomesReadable(within nanoseconds: UInt64) -> Bool {
        wait(for: Int16(POLLIN), nanoseconds)
    }

    /// Receives nothing for `nanoseconds`, rounded up to milliseconds; returns earlier when either end
    /// has ended the stream.
    public func rest(for nanoseconds: UInt64) {
        // POLLHUP is reported unasked.
        _ = wait(for: 0, nanoseconds)
    }

    private func wait(for events: Int16, _ nanoseconds: UInt64) -> Bool {
        var descriptor = pollfd(fd: rawValue, events: events, revents: 0)
        let milliseconds = (nanoseconds / 1_000_000).addingReportingOverflow(
            nanoseconds % 1_000_000 == 0 ? 0 : 1
        ).partialValue
        return poll(&descriptor, 1, Int32(clamping: milliseconds)) > 0
    }
}
