/// The fields of the copy class's LAUNCH_DMA.
///
/// Source: NVIDIA open-gpu-doc, `clc5b5.h`; the size of the semaphore's payload since `clc7b5.h`.
struct CopyLaunch {
    private let value: UInt32

    /// Nil if the value has a field that this engine does not carry out: physical addresses, which
    /// are the kernel's, a conditional interrupt, protected memory, or one that is not defined.
    init?(_ value: UInt32, hasWidePayload: Bool) {
        self.value = value
        var refused: UInt32 = 3 << 12 | 3 << 22 | 0xf << 28
        if !hasWidePayload { refused |= 1 << 27 }
        guard value & refused == 0, value & 3 != 3, value >> 3 & 3 != 3 else { return nil }
    }

    /// The LAUNCH_DMA that is not under way.
    init() { value = 0 }

    /// Whether data are moved at all.
    var transfers: Bool { value & 3 != 0 }
    /// Whether it may overlap with the launches before it.
    var isPipelined: Bool { value & 3 == 1 }
    var releasesSemaphore: Bool { value >> 3 & 3 != 0 }
    /// Payload and time, 16 bytes.
    var hasTimestamp: Bool { value >> 3 & 3 == 2 }
    var sourceIsPitch: Bool { value >> 7 & 1 != 0 }
    var destinationIsPitch: Bool { value >> 8 & 1 != 0 }
    var isMultiLine: Bool { value >> 9 & 1 != 0 }
    var isRemapped: Bool { value >> 10 & 1 != 0 }
    var reducesSemaphore: Bool { value >> 19 & 1 != 0 }
    var reduction: UInt32 { value >> 14 & 0xf }
    var reductionIsSigned: Bool { value >> 18 & 1 == 0 }
    var hasWidePayload: Bool { value >> 27 & 1 != 0 }
}
