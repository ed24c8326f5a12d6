import Device

/// Something that happened, as it is kept until it is written; times in CLOCK_MONOTONIC ns.
enum TraceEvent: Sendable {
    case open(client: UInt32, process: Int32, name: String, UInt64)
    case close(UInt32, UInt64)
    /// The argument is as it was written back.
    case ioctl(
        UInt32, stream: UInt64, IoctlCall, IoctlBytes, UInt64, UInt64, result: Int32)
    case map(UInt32, offset: UInt64, bytes: UInt64, UInt64, UInt64, result: Int32)
    case device(DeviceEvent, UInt64)
    /// So many events had no room here.
    case dropped(UInt64)

    static func open(_ client: Client, _ time: UInt64) -> TraceEvent {
        .open(client: client.id, process: client.process, name: client.name, time)
    }

    static func ioctl(
        _ client: UInt32, stream: UInt64, _ call: IoctlCall, _ reply: IoctlReply,
        _ begun: UInt64, _ ended: UInt64
    ) -> TraceEvent {
        // Not the reply itself: its descriptor would stay open.
        .ioctl(
            client, stream: stream, call, reply.argument, begun, ended, result: reply.result)
    }

    /// About how many bytes the event keeps.
    var footprint: Int {
        let fixed = 256
        guard case .ioctl(_, _, let call, let argument, _, _, _) = self else { return fixed }
        var bytes = fixed + call.argument.count + argument.count
        // Not reduce, which allocates in a debug build: this is the signalling path.
        for index in call.blocks.indices { bytes += call.blocks[index].contents.count }
        return bytes
    }
}
