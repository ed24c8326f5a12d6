import Device
import SystemPackage
import WireProtocol

/// The lines of a trace.
enum TraceText {
    static func line(_ event: TraceEvent) -> [UInt8] {
        switch event {
        case .open(let client, let process, let name, let time):
            var line = TraceLine("open", at: time)
            line.field("file", client)
            line.field("pid", process)
            line.field("name", name)
            return line.finish()
        case .close(let client, let time):
            var line = TraceLine("close", at: time)
            line.field("file", client)
            return line.finish()
        case .ioctl(
            let client, let stream, let call, let argument, let begun, let ended, let result):
            var line = TraceLine("ioctl", at: begun)
            line.field("end_ns", ended)
            line.field("file", client)
            line.field("stream", stream)
            line.field("ioctl", IoctlName.of(call.request))
            line.address("request", call.request.rawValue)
            line.object("args") { TraceArguments.write(call, argument, to: &$0) }
            answer(result, to: &line)
            return line.finish()
        case .map(let client, let offset, let bytes, let begun, let ended, let result):
            var line = TraceLine("mmap", at: begun)
            line.field("end_ns", ended)
            line.field("file", client)
            line.address("offset", offset)
            line.field("bytes", bytes)
            answer(result, to: &line)
            return line.finish()
        case .device(let event, let time): return device(event, time)
        case .dropped(let count):
            var line = TraceLine("dropped", at: 0)
            line.field("events", count)
            return line.finish()
        }
    }

    /// What the program sees: the result, and errno by name when there is one.
    private static func answer(_ result: Int32, to line: inout TraceLine) {
        line.field("result", result < 0 ? -1 : result)
        if result < 0 { line.field("errno", Errno(rawValue: 0 &- result).symbol) }
    }

    private static func device(_ event: DeviceEvent, _ time: UInt64) -> [UInt8] {
        switch event {
        case .fault(let report):
            var line = TraceLine("fault", at: report.time)
            line.field("file", report.client)
            line.field("vm", report.vm)
            line.field("queue", report.queue)
            line.address("address", report.address)
            if let method = report.failure?.method {
                line.address("class", method.classID)
                line.address("method", method.method)
            }
            line.field("text", "\(report)")
            return line.finish()
        case .jobTimedOut(let client, let vm, let queue):
            var line = TraceLine("timeout", at: time)
            line.field("file", client)
            line.field("vm", vm)
            line.field("queue", queue)
            return line.finish()
        case .vmBanned(let client, let vm, let errno):
            var line = TraceLine("vm_banned", at: time)
            line.field("file", client)
            line.field("vm", vm)
            line.field("errno", Errno(rawValue: errno).symbol)
            return line.finish()
        case .injected(let firing):
            var line = TraceLine("injected", at: firing.time)
            line.field("rule", firing.rule)
            line.field("kind", firing.kind.name)
            if !firing.operation.isEmpty { line.field("operation", "\(firing.operation)") }
            line.field("ordinal", firing.ordinal)
            if firing.client != 0 { line.field("file", firing.client) }
            if firing.vm != 0 { line.field("vm", firing.vm) }
            if firing.queue != 0 { line.field("queue", firing.queue) }
            return line.finish()
        case .jobEnded(let job):
            var line = TraceLine("job", at: job.began)
            line.field("end_ns", job.ended)
            line.field("kind", job.kind.rawValue)
            line.field("file", job.client)
            line.field("vm", job.vm)
            if job.kind == .exec { line.field("queue", job.queue) }
            line.field("result", job.error == 0 ? 0 : -1)
            if job.error != 0 { line.field("errno", Errno(rawValue: job.error).symbol) }
            return line.finish()
        }
    }
}
