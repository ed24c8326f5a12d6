/// Names of the methods that have an effect or are refused.
///
/// Source: NVIDIA open-gpu-doc and open-gpu-kernel-modules, `clc36f.h`, `clc597.h`, `clc5c0.h`,
/// `cla140.h`, `cl902d.h`, `clc5b5.h`.
enum MethodNames {
    static func name(_ kind: NVIDIAClassKind, _ method: UInt32) -> String? {
        switch kind {
        case .host: host(method)
        case .threeD: inline(method) ?? threeD(method)
        case .compute: inline(method) ?? compute(method)
        case .inlineToMemory: inline(method)
        case .twoD: twoD(method)
        case .copy: copy(method)
        }
    }

    private static func host(_ method: UInt32) -> String? {
        switch method {
        case 0x00: "SET_OBJECT"
        case 0x04: "ILLEGAL"
        case 0x1c: "SEMAPHORED"
        case 0x34: "MEM_OP_D"
        case 0x6c: "SEM_EXECUTE"
        case 0x7c: "CRC_CHECK"
        case 0x84: "CLEAR_FAULTED"
        default: nil
        }
    }

    private static func inline(_ method: UInt32) -> String? {
        switch method {
        case 0x10c: "NOTIFY"
        case 0x1b0: "LAUNCH_DMA"
        case 0x1b4: "LOAD_INLINE_DATA"
        default: nil
        }
    }

    private static func threeD(_ method: UInt32) -> String? {
        switch method {
        case 0x118: "LOAD_MME_INSTRUCTION_RAM"
        case 0x120: "LOAD_MME_START_ADDRESS_RAM"
        case 0x12c: "PEER_SEMAPHORE_RELEASE_OFFSET"
        case 0x26c: "DRAW_INDEX_BUFFER_BEGIN_END_B"
        case 0x274: "DRAW_VERTEX_ARRAY_BEGIN_END_B"
        case 0x55c: "MME_DMA_READ"
        case 0x560: "MME_DMA_READ_FIFOED"
        case 0x564: "MME_DMA_WRITE"
        case 0x568: "MME_DMA_REDUCTION"
        case 0xd78: "DRAW_VERTEX_ARRAY"
        case 0x1214: "DRAW_VERTEX_ARRAY_BEGIN_END_INSTANCE_FIRST"
        case 0x1218: "DRAW_VERTEX_ARRAY_BEGIN_END_INSTANCE_SUBSEQUENT"
        case 0x123c: "DRAW_AUTO"
        case 0x1264: "SET_BACK_END_COPY_A"
        case 0x1268: "SET_BACK_END_COPY_B"
        case 0x126c: "SET_BACK_END_COPY_C"
        case 0x1270: "SET_BACK_END_COPY_D"
        case 0x1274: "SET_BACK_END_COPY_E"
        case 0x15e8: "DRAW_INLINE_INDEX"
        case 0x15f0: "DRAW_INLINE_INDEX2X16"
        case 0x1614: "END"
        case 0x1618: "BEGIN"
        case 0x17e0: "DRAW_INDEX_BUFFER"
        case 0x17e4: "DRAW_INDEX_BUFFER32_BEGIN_END_INSTANCE_FIRST"
        case 0x17e8: "DRAW_INDEX_BUFFER16_BEGIN_END_INSTANCE_FIRST"
        case 0x17ec: "DRAW_INDEX_BUFFER8_BEGIN_END_INSTANCE_FIRST"
        case 0x17f0: "DRAW_INDEX_BUFFER32_BEGIN_END_INSTANCE_SUBSEQUENT"
        case 0x17f4: "DRAW_INDEX_BUFFER16_BEGIN_END_INSTANCE_SUBSEQUENT"
        case 0x17f8: "DRAW_INDEX_BUFFER8_BEGIN_END_INSTANCE_SUBSEQUENT"
        case 0x19d0: "CLEAR_SURFACE"
        case 0x1b0c: "SET_REPORT_SEMAPHORE_D"
        case 0x2390..<0x23d0: "LOAD_CONSTANT_BUFFER"
        case 0x3800...: "CALL_MME_MACRO"
        default: nil
        }
    }

    private static func compute(_ method: UInt32) -> String? {
        switch method {
        case 0x2b8: "SEND_PCAS_B"
        case 0x2bc: "SEND_SIGNALING_PCAS_B"
        case 0x2c0: "SEND_SIGNALING_PCAS2_B"
        case 0x320..<0x420: "LOAD_INLINE_QMD_DATA"
        case 0x1b0c: "SET_REPORT_SEMAPHORE_D"
        default: nil
        }
    }

    private static func twoD(_ method: UInt32) -> String? {
        switch method {
        case 0x10c: "NOTIFY"
        case 0x5e0: "RENDER_SOLID_PRIM_POINT_X_Y"
        case 0x600..<0x800: method & 4 == 0 ? nil : "RENDER_SOLID_PRIM_POINT_Y"
        case 0x860: "PIXELS_FROM_CPU_DATA"
        case 0x8dc: "PIXELS_FROM_MEMORY_SRC_Y0_INT"
        case 0x3800...: "CALL_MME_MACRO"
        default: nil
        }
    }

    private static func copy(_ method: UInt32) -> String? {
        switch method {
        case 0x25c: "SET_RENDER_ENABLE_C"
        case 0x300: "LAUNCH_DMA"
        default: nil
        }
    }
}
