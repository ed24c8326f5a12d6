import Fencing
import Glibc

/// struct drm_nouveau_sync: {flags@0, handle@4, value u64@8}, 16 bytes.
struct NouveauSync: Equatable {
    /// 0 a binary sync object, 1 a point of a timeline; others are refused.
    var type: UInt32
    var handle: UInt32
    var point: UInt64

    static let stride = 16
    private static let typeMask: UInt32 = 0xf

    var isTimeline: Bool { type == 1 }
    var isKnown: Bool { type <= 1 }

    /// Element `index` of an array.
    init(_ bytes: IoctlBytes, _ index: Int) {
        let offset = index * Self.stride
        type = bytes.read(offset, as: UInt32.self) & Self.typeMask
        handle = bytes.read(offset + 4)
        // The value of a binary sync means nothing.
        point = type == 1 ? bytes.read(offset + 8) : 0
    }
}

extension NouveauFile {
    /// The sync object behind a handle.
    ///
    /// - Throws: ENOENT.
    func syncobj(_ handle: UInt32) throws(IoctlError) -> Syncobj {
        guard let object = state.withLock({ $0.syncobjs[handle] }) else {
            throw .missing("there is no sync object \(handle)")
        }
        return object
    }

    /// The fences that an array of syncs waits for.
    ///
    /// - Throws: EFAULT, EOPNOTSUPP for the type, ENOENT, EINVAL for a point without a fence.
    func inFences(
        _ call: IoctlCall, at offset: Int, count: UInt32
    ) throws(IoctlError) -> [Fence] {
        try syncs(call, at: offset, count: count, unknown: EOPNOTSUPP) {
            (sync, object) throws(IoctlError) in
            try answeringFences { () throws(FencingError) in
                try object.findFence(point: sync.point)
            }
        }
    }

    /// The points that an array of syncs signals, everything allocated.
    ///
    /// - Throws: EFAULT, EINVAL for the type, ENOENT.
    func outPoints(
        _ call: IoctlCall, at offset: Int, count: UInt32
    ) throws(IoctlError) -> [PreparedSignal] {
        try syncs(call, at: offset, count: count, unknown: EINVAL) { sync, object in
            PreparedSignal(
                object: object, point: sync.point, node: sync.isTimeline ? FenceChain() : nil)
        }
    }

    /// What `body` makes of each sync of an array and of its object.
    ///
    /// - Throws: EFAULT, `unknown` for the type, ENOENT; what `body` throws.
    private func syncs<Element>(
        _ call: IoctlCall, at offset: Int, count: UInt32, unknown: Int32,
        _ body: (NouveauSync, Syncobj) throws(IoctlError) -> Element
    ) throws(IoctlError) -> [Element] {
        let array = try call.array(at: offset, count: count, stride: NouveauSync.stride)
        var elements: [Element] = []
        elements.reserveCapacity(Int(count))
        for index in 0..<Int(count) {
            let sync = NouveauSync(array, index)
            guard sync.isKnown else {
                throw IoctlError(unknown, "sync \(index) has the type \(sync.type)")
            }
            elements.append(try body(sync, try syncobj(sync.handle)))
        }
        return elements
    }
}
