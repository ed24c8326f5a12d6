import CWireProtocol
import WireProtocol

extension Session {
    /// What open files of the DRM shim have done, for the summary of a run.
    func drmInfo(_ message: inout IncomingMessage) -> OutgoingMessage {
        let counts = server.nouveau.statistics.current
        let status = server.device.status()
        var reply = gpuvm_drm_info_reply()
        reply.model = WireName.encode(server.nouveau.model.key)
        reply.ioctls = counts.total
        reply.failed = counts.failed.values.reduce(0, +)
        reply.unknown = counts.unknown.values.reduce(0, +)
        reply.bind_operations = counts.bindOperations.values.reduce(0, +)
        reply.pushes = counts.pushes
        reply.jobs = status.execJobs + status.bindJobs
        reply.failed_jobs = status.failedJobs
        reply.faults = status.faults
        reply.missing_barriers = server.nouveau.engines.reduce(0) {
            $0 + $1.counters.missingBarriers
        }
        reply.refused_binds = status.refusedBinds
        reply.bytes_read = status.mmu.bytesRead
        reply.bytes_written = status.mmu.bytesWritten
        var builder = ReplyBuilder(to: .drmInfo, serial: message.serial)
        builder.append(reply)
        return builder.finishInline()
    }
}
