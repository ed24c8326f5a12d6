import CPlatform
import Fencing
import Glibc
import SystemPackage
import WireProtocol

/// The client's fence pages: waits that cost the daemon nothing.
///
/// Threading: any thread.
final class FencePages: Sendable {
    let reader = FencePageReader()
    private let isUsable: Bool
    private let early = Guarded<[Int: Int32]>(.client, [:])

    /// Prepares for the chunks of a daemon; of another layout than this library's, none is used.
    init(slotsPerChunk: UInt32) {
        isUsable = Int(slotsPerChunk) == FencePage.slotsPerChunk
    }

    deinit {
        early.withLock { early in
            for fd in early.values { close(fd) }
            early.removeAll()
        }
    }

    /// Whether a wait for `points` can be made here and not in the daemon.
    func serves(_ points: [SyncPoint]) -> Bool {
        guard isUsable, !points.isEmpty, points.count <= FencePageReader.maximumWait else {
            return false
        }
        let slots = reader.chunkCount * FencePage.slotsPerChunk
        return points.allSatisfy { Int($0.fenceSlot) < slots }
    }

    /// Maps the chunk that the daemon sent with the first object in it; nothing to do without one.
    ///
    /// - Throws: EPROTO for what is no fence page, ENOMEM.
    func add(_ fd: consuming OwnedFD?, slot: UInt32) throws(ClientError) {
        guard isUsable, let fd else { return }
        var status = stat()
        // A page that ended early would be a SIGBUS in a waiter.
        guard fstat(fd.rawValue, &status) == 0, status.st_size >= FencePage.chunkBytes else {
            throw ClientError(.protocolError, nil, "the daemon's fence page is too short")
        }
        let chunk = Int(slot) / FencePage.slotsPerChunk
        let number = fd.release()
        // The reader takes chunks in their order; replies to two threads may come in another.
        try early.withLock { early throws(ClientError) in
            if let old = early.updateValue(number, forKey: chunk) { close(old) }
            while let next = early.removeValue(forKey: reader.chunkCount) {
                defer { close(next) }
                do throws(FencingError) { try reader.addChunk(fd: next) } catch {
                    throw ClientError(
                        Errno(rawValue: error.errno), nil, "the fence page cannot be mapped")
                }
            }
        }
    }
}
