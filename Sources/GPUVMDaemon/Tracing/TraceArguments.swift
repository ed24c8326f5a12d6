import Device

/// An ioctl's arguments, decoded: the input as it was sent, the output as it was written back.
///
/// Source: include/uapi/drm/drm.h, nouveau_drm.h; the offsets are those that NouveauFile reads.
enum TraceArguments {
    static func write(_ call: IoctlCall, _ reply: IoctlBytes, to line: inout TraceLine) {
        let sent = call.argument
        // A file of another driver's type has other arguments.
        guard let known = NouveauIoctl(rawValue: call.request.number), call.request.type == 0x64
        else { return }
        switch known {
        case .vmBind: bind(call, to: &line)
        case .exec: exec(call, to: &line)
        case .vmInit:
            line.address("kernel_address", sent.read(0, as: UInt64.self))
            line.address("kernel_size", sent.read(8, as: UInt64.self))
        case .getParam:
            line.field("param", sent.read(0, as: UInt64.self))
            line.address("value", reply.read(8, as: UInt64.self))
        case .getCap:
            line.field("capability", sent.read(0, as: UInt64.self))
            line.field("value", reply.read(8, as: UInt64.self))
        case .nvif: line.field("type", sent.read(1, as: UInt8.self))
        case .channelAlloc:
            line.address("fb", sent.read(0, as: UInt32.self))
            line.address("tt", sent.read(4, as: UInt32.self))
            line.field("channel", reply.read(8, as: Int32.self))
        case .channelFree: line.field("channel", sent.read(0, as: Int32.self))
        case .gemNew:
            line.field("bytes", sent.read(8, as: UInt64.self))
            line.address("domain", sent.read(4, as: UInt32.self))
            line.address("tile_flags", sent.read(36, as: UInt32.self))
            line.field("handle", reply.read(0, as: UInt32.self))
            line.address("map_handle", reply.read(24, as: UInt64.self))
        case .gemClose, .gemInfo, .gemCPUPrep, .gemCPUFini, .syncobjDestroy:
            line.field("handle", sent.read(0, as: UInt32.self))
        case .syncobjCreate, .primeFDToHandle, .syncobjFDToHandle:
            line.address("flags", sent.read(4, as: UInt32.self))
            line.field("handle", reply.read(0, as: UInt32.self))
        case .primeHandleToFD, .syncobjHandleToFD, .syncobjEventFD:
            line.field("handle", sent.read(0, as: UInt32.self))
            line.address("flags", sent.read(4, as: UInt32.self))
        default: syncobjs(known, call, reply, to: &line)
        }
    }

    private static func syncobjs(
        _ known: NouveauIoctl, _ call: IoctlCall, _ reply: IoctlBytes, to line: inout TraceLine
    ) {
        let sent = call.argument
        switch known {
        case .syncobjWait:
            handles(call, count: sent.read(16), to: &line)
            line.field("deadline_ns", sent.read(8, as: Int64.self))
            line.address("flags", sent.read(20, as: UInt32.self))
            line.field("first", reply.read(24, as: UInt32.self))
        case .syncobjTimelineWait:
            handles(call, count: sent.read(24), to: &line)
            points(call, count: sent.read(24), to: &line)
            line.field("deadline_ns", sent.read(16, as: Int64.self))
            line.address("flags", sent.read(28, as: UInt32.self))
            line.field("first", reply.read(32, as: UInt32.self))
        case .syncobjReset, .syncobjSignal: handles(call, count: sent.read(8), to: &line)
        case .syncobjTimelineSignal:
            handles(call, count: sent.read(16), to: &line)
            points(call, count: sent.read(16), to: &line)
        case .syncobjQuery: handles(call, count: sent.read(16), to: &line)
        case .syncobjTransfer:
            line.field("source", sent.read(0, as: UInt32.self))
            line.field("source_point", sent.read(8, as: UInt64.self))
            line.field("destination", sent.read(4, as: UInt32.self))
            line.field("destination_point", sent.read(16, as: UInt64.self))
        default: break
        }
    }

    // MARK: VM_BIND and EXEC

    private static func bind(_ call: IoctlCall, to line: inout TraceLine) {
        let sent = call.argument
        line.field("async", sent.read(4, as: UInt32.self) & 1 != 0)
        let ops = block(call, at: 32)
        line.list("ops") { line in
            for base in elements(ops, count: sent.read(0), stride: 40) {
                let flags: UInt32 = ops.read(base + 4)
                let isSparse = flags & 0x100 != 0
                let kind =
                    switch ops.read(base, as: UInt32.self) {
                    case 0: isSparse ? "sparse_map" : "map"
                    case 1: isSparse ? "sparse_unmap" : "unmap"
                    default: "unknown"
                    }
                line.element { line in
                    line.field("op", kind)
                    line.address("address", ops.read(base + 16, as: UInt64.self))
                    line.address("range", ops.read(base + 32, as: UInt64.self))
                    guard kind == "map" else { return }
                    line.field("handle", ops.read(base + 8, as: UInt32.self))
                    line.address("offset", ops.read(base + 24, as: UInt64.self))
                    line.field("pte_kind", flags & 0xff)
                }
            }
        }
        syncs("waits", call, at: 16, count: sent.read(8), to: &line)
        syncs("signals", call, at: 24, count: sent.read(12), to: &line)
    }

    private static func exec(_ call: IoctlCall, to line: inout TraceLine) {
        let sent = call.argument
        line.field("channel", sent.read(0, as: Int32.self))
        let pushes = block(call, at: 32)
        line.list("pushes") { line in
            for base in elements(pushes, count: sent.read(4), stride: 16) {
                line.element { line in
                    line.address("address", pushes.read(base, as: UInt64.self))
                    line.field("bytes", pushes.read(base + 8, as: UInt32.self))
                }
            }
        }
        syncs("waits", call, at: 16, count: sent.read(8), to: &line)
        syncs("signals", call, at: 24, count: sent.read(12), to: &line)
    }

    private static func syncs(
        _ name: String, _ call: IoctlCall, at offset: Int, count: UInt32,
        to line: inout TraceLine
    ) {
        let syncs = block(call, at: offset)
        line.list(name) { line in
            for base in elements(syncs, count: count, stride: 16) {
                line.element { line in
                    line.field("handle", syncs.read(base + 4, as: UInt32.self))
                    guard syncs.read(base, as: UInt32.self) & 0xf == 1 else { return }
                    line.field("point", syncs.read(base + 8, as: UInt64.self))
                }
            }
        }
    }

    private static func handles(
        _ call: IoctlCall, count: UInt32, to line: inout TraceLine
    ) {
        let handles = block(call, at: 0)
        line.list("handles") { line in
            for base in elements(handles, count: count, stride: 4) {
                line.item(handles.read(base, as: UInt32.self))
            }
        }
    }

    private static func points(
        _ call: IoctlCall, count: UInt32, to line: inout TraceLine
    ) {
        let points = block(call, at: 8)
        line.list("points") { line in
            for base in elements(points, count: count, stride: 8) {
                line.item(points.read(base, as: UInt64.self))
            }
        }
    }

    // MARK: arrays

    /// What the argument's pointer at `offset` leads to.
    private static func block(_ call: IoctlCall, at offset: Int) -> IoctlBytes {
        call.blocks.first { $0.parent == 0 && Int($0.pointerOffset) == offset }?.contents
            ?? IoctlBytes([])
    }

    /// The offsets of an array's elements, of those that are there.
    private static func elements(
        _ array: IoctlBytes, count: UInt32, stride bytes: Int
    ) -> StrideTo<Int> {
        stride(from: 0, to: min(Int(count), array.count / bytes) * bytes, by: bytes)
    }
}
