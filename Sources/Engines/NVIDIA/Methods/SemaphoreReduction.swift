/// What a release can do to a semaphore instead of storing its payload.
enum SemaphoreReduction {
    case add, min, max, increment, decrement, and, or, xor

    /// As the host and copy classes number them; nil for floating point and undefined numbers.
    ///
    /// Source: SEM_EXECUTE_REDUCTION in NVIDIA open-gpu-doc, `clc36f.h`.
    init?(hostCode: UInt32) {
        switch hostCode {
        case 0: self = .min
        case 1: self = .max
        case 2: self = .xor
        case 3: self = .and
        case 4: self = .or
        case 5: self = .add
        case 6: self = .increment
        case 7: self = .decrement
        default: return nil
        }
    }

    /// As the graphics classes number them.
    ///
    /// Source: SET_REPORT_SEMAPHORE_D_REDUCTION_OP in NVIDIA open-gpu-doc, `clc597.h`.
    init(graphicsCode: UInt32) {
        switch graphicsCode & 7 {
        case 0: self = .add
        case 1: self = .min
        case 2: self = .max
        case 3: self = .increment
        case 4: self = .decrement
        case 5: self = .and
        case 6: self = .or
        default: self = .xor
        }
    }

    /// What the semaphore is afterwards.
    ///
    /// Increment and decrement count up to the payload and wrap around, as CUDA's atomicInc and
    /// atomicDec do.
    func apply<Word: FixedWidthInteger & UnsignedInteger>(
        _ old: Word, _ payload: Word, isSigned: Bool
    ) -> Word {
        // Flipping the sign's bit makes signed numbers compare as unsigned ones.
        let flip: Word = isSigned ? 1 << (Word.bitWidth - 1) : 0
        return switch self {
        case .add: old &+ payload
        case .min: (old ^ flip) < (payload ^ flip) ? old : payload
        case .max: (old ^ flip) > (payload ^ flip) ? old : payload
        case .increment: old >= payload ? 0 : old &+ 1
        case .decrement: old == 0 || old > payload ? payload : old &- 1
        case .and: old & payload
        case .or: old | payload
        case .xor: old ^ payload
        }
    }
}
