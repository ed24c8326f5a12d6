/// The dword in front of a method's data.
///
/// | Bits | Field |
/// |---|---|
/// | 31:29 | 1 incrementing, 3 non-incrementing, 4 immediate, 5 increment once, 7 end of the segment |
/// | 28:16 | number of data dwords, or the data of an immediate |
/// | 15:13 | subchannel |
/// | 11:0 | method / 4 |
///
/// A header that is wholly 0 is a no-op. The older forms (0 and 2 in bits 31:29) and 6 are refused.
///
/// Source: NVIDIA open-gpu-doc, `clc36f.h`, "dma method formats".
struct MethodHeader {
    enum Mode {
        case incrementing
        case constant
        case incrementingOnce
        case immediate
        case endOfSegment
    }

    var mode: Mode
    /// Data dwords; 1 for an immediate.
    var count: UInt32
    /// The data of an immediate.
    var immediate: UInt32
    var subchannel: UInt8
    /// The first method, in bytes.
    var method: UInt32

    /// Decodes a header that is not 0; nil for one of a form that is refused.
    init?(_ dword: UInt32) {
        let field = dword >> 16 & 0x1fff
        switch dword >> 29 {
        case 1: mode = .incrementing
        case 3: mode = .constant
        case 4: mode = .immediate
        case 5: mode = .incrementingOnce
        case 7: mode = .endOfSegment
        default: return nil
        }
        immediate = field
        count = mode == .immediate ? 1 : mode == .endOfSegment ? 0 : field
        subchannel = UInt8(dword >> 13 & 7)
        method = (dword & 0xfff) << 2
    }

    /// The method that a data dword is for. Methods wrap around at the end of their span.
    func method(at index: UInt32) -> UInt32 {
        switch mode {
        case .incrementing: (method &+ index &* 4) & (NVIDIAChannel.methodSpan - 1)
        case .incrementingOnce:
            (method &+ min(index, 1) &* 4) & (NVIDIAChannel.methodSpan - 1)
        default: method
        }
    }
}
