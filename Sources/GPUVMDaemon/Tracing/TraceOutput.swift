import CPlatform
import Fencing
import Glibc
import SystemPackage
import WireProtocol

/// Where the bytes of a trace go.
///
/// A file on a disk takes them sooner or later. What has a reader (a FIFO, a terminal, a socket) may
/// never: writing to it can be ended from outside.
///
/// Threading: one thread writes; ``limitWaits()`` may be called from any.
final class TraceOutput: Sendable {
    /// Whether it takes bytes without anybody's help.
    let isFile: Bool
    /// How many bytes are to be written at once. A pipe takes up to PIPE_BUF whole or not at all; few of
    /// them find room in what is left of its buffer.
    let chunkBytes: Int
    private let number: Int32
    /// Closed with the object.
    private let descriptor: OwnedFD
    /// Readable from ``limitWaits()`` on.
    private let wake: OwnedFD
    private let ending = Guarded<UInt64?>(.leaf, nil)

    /// How long somebody may take nothing while the end is waited for, ns.
    static let patience: UInt64 = 2_000_000_000
    /// How long the end may take in all, ns.
    static let longestEnd: UInt64 = 10_000_000_000

    /// Takes over `descriptor`, which nobody else writes to.
    ///
    /// - Throws: EMFILE.
    init(_ descriptor: consuming OwnedFD) throws(Errno) {
        number = descriptor.rawValue
        self.descriptor = descriptor
        var status = stat()
        let type = fstat(number, &status) == 0 ? status.st_mode & S_IFMT : 0
        isFile = type == S_IFREG || type == S_IFBLK
        chunkBytes = isFile ? 64 << 10 : 512
        let event = gpuvm_wake_create()
        guard event >= 0 else { throw Errno(rawValue: -event) }
        wake = OwnedFD(event)
        if !isFile {
            let flags = fcntl(number, F_GETFL)
            guard flags >= 0, fcntl(number, F_SETFL, flags | O_NONBLOCK) == 0 else {
                throw Errno(rawValue: errno)
            }
        }
    }

    /// Lets no wait for a reader last longer than ``patience``, nor all from here on longer than
    /// ``longestEnd``; the one that is going on, too.
    func limitWaits() {
        ending.withLock { $0 = $0 ?? Runtime.now() }
        gpuvm_wake_set(wake.rawValue)
    }

    /// Writes all of `bytes`.
    ///
    /// - Parameter limit: How long a reader may take, ns; nil for ever, unless waits are limited.
    /// - Throws: What write(2) says; ETIMEDOUT if a limit passed.
    func write(_ bytes: [UInt8], within limit: UInt64? = nil) throws(Errno) {
        let begun = Runtime.now()
        let end = limit.map { begun + $0 }
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.write(number, $0.baseAddress.map { $0 + done }, bytes.count - done)
            }
            if count >= 0 {
                done += count
                continue
            }
            switch errno {
            case EINTR: continue
            case EAGAIN: try waitForRoom(since: begun, until: end)
            default: throw Errno(rawValue: errno)
            }
        }
    }

    private func waitForRoom(since begun: UInt64, until end: UInt64?) throws(Errno) {
        var polls = [
            pollfd(fd: number, events: Int16(POLLOUT), revents: 0),
            pollfd(fd: wake.rawValue, events: Int16(POLLIN), revents: 0),
        ]
        let ending = ending.withLock { $0 }
        let limits = [
            end, ending.map { $0 + Self.longestEnd },
            ending.map { max(begun, $0) + Self.patience },
        ]
        let limit = limits.compactMap(\.self).min()
        let now = Runtime.now()
        if let limit, limit <= now { throw .timedOut }
        // Of the wake-up everybody knows who knows that the end has begun.
        let wait = limit.map { Int32(clamping: ($0 - now) / 1_000_000 + 1) } ?? -1
        _ = poll(&polls, ending == nil ? 2 : 1, wait)
    }
}
