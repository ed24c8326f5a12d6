import CWireProtocol
import Fencing
import SystemPackage
import WireProtocol

extension Connection {
    /// Waits until one of `points`, or with ``WaitFlags/all`` each of them, has signalled.
    ///
    /// Up to 128 points are waited for on the fence pages, without the daemon: the thread sleeps on
    /// a futex and wakes ten times a second to see with poll(2) whether the daemon lives. Longer
    /// lists are a request that the daemon answers when the wait ends.
    ///
    /// - Parameters:
    ///   - points: Of this connection's objects.
    ///   - deadline: Absolute CLOCK_MONOTONIC ns, as `Runtime.now()`; in the past only looks.
    /// - Returns: The index of the first point found signalled; 0 with ``WaitFlags/all``.
    /// - Throws: ETIME when the deadline passed, EINVAL for no point at all or for one without a
    ///   fence unless ``WaitFlags/forSubmit`` is given, ECONNRESET when the daemon is gone.
    @discardableResult
    public func wait(
        for points: [SyncPoint], flags: WaitFlags = [], deadline: UInt64
    ) throws(ClientError) -> Int {
        guard fencePages.serves(points) else {
            return try waitByRequest(points, flags: flags, deadline: deadline)
        }
        let targets = points.map {
            FencePageReader.Target(slot: Int($0.fenceSlot), point: $0.raw.point)
        }
        do throws(FencingError) {
            let first = try fencePages.reader.wait(
                targets, flags: SyncobjWait.Flags(rawValue: flags.rawValue),
                deadline: Int64(clamping: deadline), isAlive: { self.isAlive })
            return flags.contains(.all) ? 0 : Int(first)
        } catch {
            throw Self.describe(error)
        }
    }

    /// Asks the daemon to answer when the wait ends; for waits that the fence pages cannot serve.
    func waitByRequest(
        _ points: [SyncPoint], flags: WaitFlags, deadline: UInt64
    ) throws(ClientError) -> Int {
        var request = Request(
            .syncobjWait,
            gpuvm_syncobj_wait(
                count: UInt32(clamping: points.count), flags: flags.rawValue,
                deadline: Int64(clamping: deadline)))
        request.append(points.map(\.raw))
        let reply = try call(request, reply: gpuvm_syncobj_wait_reply.self)
        return flags.contains(.all) ? 0 : Int(reply.first_signaled)
    }

    private static func describe(_ error: FencingError) -> ClientError {
        switch error {
        case .timeExpired:
            ClientError(.timeout, .syncobjWait, "the deadline of a wait has passed")
        case .notSubmitted(let point):
            ClientError(
                .invalidArgument, .syncobjWait,
                "point \(point) has no fence yet: submit first, or wait with forSubmit")
        case .deviceLost:
            ClientError(
                .connectionReset, .syncobjWait, "the daemon ended while a wait was under way")
        default:
            ClientError(Errno(rawValue: error.errno), .syncobjWait, "the wait failed: \(error)")
        }
    }
}
