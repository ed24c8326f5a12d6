/// How an existing mapping and a request overlap, numbered as the pictures in the kernel's
/// "Split and Merge" documentation (drivers/gpu/drm/drm_gpuvm.c).
///
/// "Contiguous" means: the same object, with offsets that continue each other modulo 2^64. An
/// unmap request is contiguous with nothing.
public enum OverlapCase: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    /// Same range, same object, same offset.
    case identical = 1
    /// Same range, same object, other offset.
    case sameRangeOtherOffset = 2
    /// Same range, other object or none.
    case sameRangeOtherObject = 3
    /// Same start, the old mapping is shorter.
    case oldIsHead = 4
    /// Same start, the old mapping is longer.
    case requestIsHead = 5
    /// Same start, the old mapping is longer and contiguous.
    case requestIsContiguousHead = 6
    /// Same end, the old mapping starts earlier.
    case requestIsTail = 7
    /// Same end, the old mapping starts earlier and is contiguous.
    case requestIsContiguousTail = 8
    /// The request starts inside the old mapping and ends behind it.
    case requestOverlapsEnd = 9
    /// The request starts inside the old mapping, ends behind it and is contiguous.
    case requestContinuesEnd = 10
    /// The request lies inside the old mapping.
    case requestIsMiddle = 11
    /// The request lies inside the old mapping and is contiguous.
    case requestIsContiguousMiddle = 12
    /// Same end, the old mapping starts later.
    case oldIsTail = 13
    /// The old mapping lies inside the request.
    case oldIsMiddle = 14
    /// The request starts before the old mapping and ends inside it.
    case requestOverlapsStart = 15

    /// The number of the picture, 1…15.
    public var number: Int { Int(rawValue) }

    /// One line for a demo, a log or an error.
    public var text: String {
        switch self {
        case .identical: "identical mapping: replaced, its PTEs can be kept"
        case .sameRangeOtherOffset: "same range and object, other offset: replaced"
        case .sameRangeOtherObject: "same range, other object or none: replaced"
        case .oldIsHead: "old mapping is the head of the request: replaced"
        case .requestIsHead: "request takes the head: the tail remains"
        case .requestIsContiguousHead: "request takes the head, contiguous: split, PTEs can be kept"
        case .requestIsTail: "request takes the tail: the head remains"
        case .requestIsContiguousTail: "request takes the tail, contiguous: split, PTEs can be kept"
        case .requestOverlapsEnd: "request overlaps the end: the head remains"
        case .requestContinuesEnd: "request overlaps the end, contiguous: PTEs can be kept"
        case .requestIsMiddle: "request takes the middle: head and tail remain"
        case .requestIsContiguousMiddle:
            "request takes the middle, contiguous: split, PTEs can be kept"
        case .oldIsTail: "old mapping is the tail of the request: replaced"
        case .oldIsMiddle: "old mapping lies inside the request: replaced"
        case .requestOverlapsStart: "request overlaps the start: the tail remains"
        }
    }
}
