/// Which methods order the copies around them; launches are ``HazardTracker``'s own business.
///
/// All that may order counts: a hazard that is missed is better than one that is none.
///
/// Source: NVIDIA open-gpu-doc, `clc36f.h`, `clc597.h`, `clc5c0.h`; which of them are barriers of a
/// driver's is in Mesa's `nvk_cmd_flush_wait_dep` (src/nouveau/vulkan/nvk_cmd_buffer.c).
enum HazardRules {
    static func orders(_ kind: NVIDIAClassKind, _ method: UInt32, _ value: UInt32) -> Bool {
        switch kind {
        case .host:
            switch method {
            // SEMAPHORED, FB_FLUSH, MEM_OP_A to D, SET_REFERENCE, SEM_EXECUTE, WFI.
            case 0x1c, 0x24, 0x28...0x34, 0x50, 0x6c, 0x78: true
            default: false
            }
        case .threeD, .compute:
            switch method {
            // WAIT_FOR_IDLE, INVALIDATE_SHADER_CACHES, SET_REPORT_SEMAPHORE_D.
            case 0x110, 0x21c, 0x1b0c: true
            // LAUNCH_DMA with a semaphore.
            case 0x1b0: value >> 4 & 3 != 0
            default: false
            }
        case .inlineToMemory: method == 0x1b0 && value >> 4 & 3 != 0
        case .twoD: method == 0x110
        case .copy: false
        }
    }
}
