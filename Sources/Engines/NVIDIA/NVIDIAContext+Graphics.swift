/// The 3D and compute classes: semaphores and reports, uploads, constant buffers and macros; the
/// rest is state.
///
/// Source: NVIDIA open-gpu-doc, `clc597.h`, `clc5c0.h`.
extension NVIDIAContext {
    func perform3D(_ method: UInt32, _ data: UInt32) throws(EngineFailure) -> Progress {
        let value = shadow(method, data)
        switch method {
        case 0x114: channel.macros.setInstructionPointer(value)
        case 0x118:
            try loadMacro { (macros) throws(MacroFault) in
                try macros.loadInstruction(value)
            }
        case 0x11c: channel.macros.setStartPointer(value)
        case 0x120:
            try loadMacro { (macros) throws(MacroFault) in
                try macros.loadStart(value)
            }
        case 0x180...0x1b4: return try performInline(.threeD, method, value)
        case 0x1b0c: return try report(.threeD, value)
        case 0x2310:
            // The firmware's answer, for which macros wait in the first scratch register: the
            // privileged register has been changed.
            channel.setShadowRegister(0x3400, 1)
        case 0x2390..<0x23d0: try loadConstant(value)
        case 0x3800...:
            channel.setRegister(.threeD, method, value)
            try loadMacro { (macros) throws(MacroFault) in
                if method & 4 == 0 {
                    try macros.call(Int(method - 0x3800) / 8, value)
                } else {
                    try macros.addParameter(value)
                }
            }
            return .done
        default: break
        }
        return performState(.threeD, method, value)
    }

    func performCompute(_ method: UInt32, _ value: UInt32) throws(EngineFailure) -> Progress {
        switch method {
        case 0x180...0x1b4: try performInline(.compute, method, value)
        case 0x1b0c: try report(.compute, value)
        default: performState(.compute, method, value)
        }
    }

    /// Keeps the shadow of the 3D class's registers, or takes the data from it.
    ///
    /// SET_MME_SHADOW_RAM_CONTROL says which: 0 and 1 track, 2 passes data by the shadow, 3 replays
    /// it: a driver changes state on the side with 2 and has it back with 3. The macro processor's
    /// own methods are not shadowed, and its scratch registers always.
    private func shadow(_ method: UInt32, _ data: UInt32) -> UInt32 {
        if method < 0x180 || method >= 0x3800 { return data }
        switch channel.register(.threeD, 0x124) & 3 {
        case 3 where method < 0x3400: return channel.shadowRegister(method)
        case 2 where method < 0x3400: return data
        default:
            channel.setShadowRegister(method, data)
            return data
        }
    }

    private func loadMacro(
        _ body: (MacroProcessor) throws(MacroFault) -> Void
    ) throws(EngineFailure) {
        do {
            try body(channel.macros)
        } catch {
            throw fail(.command, .macro(error))
        }
    }

    /// LOAD_CONSTANT_BUFFER: a dword into the selected constant buffer, and on.
    private func loadConstant(_ value: UInt32) throws(EngineFailure) {
        let offset = channel.register(.threeD, 0x238c)
        let address = channel.address(.threeD, 0x2384, upperMask: 0xff) &+ UInt64(offset)
        try word(.destination, address, bytes: 4, .write) { $0.store32(value) }
        channel.setRegister(.threeD, 0x238c, offset &+ 4)
        tally.inlineBytes &+= 4
    }

    /// SET_REPORT_SEMAPHORE_D, with address and payload in A, B and C.
    ///
    /// Nothing is ever drawn, so every counter that can be reported is 0.
    private func report(
        _ kind: NVIDIAClassKind, _ value: UInt32
    ) throws(EngineFailure) -> Progress {
        let upperMask: UInt32 = kind == .threeD ? 0xff : 0x1ffff
        let address = channel.address(kind, 0x1b00, upperMask: upperMask)
        let payload = channel.register(kind, 0x1b08)
        let hasTimestamp = value >> 28 & 1 == 0
        switch value & 3 {
        case 0 where value >> 3 & 1 != 0:
            guard !hasTimestamp, value >> 18 & 1 == 0 else { throw refuse(.unsupportedValue) }
            try reduce(
                address, UInt64(payload), isWide: false,
                SemaphoreReduction(graphicsCode: value >> 9 & 7), isSigned: value >> 17 & 1 != 0)
        case 0:
            try release(address, UInt64(payload), isWide: false, hasTimestamp: hasTimestamp)
        case 1 where kind == .threeD:
            let condition: Condition = value >> 16 & 1 == 0 ? .equal : .greaterOrEqual
            if try acquire(address, payload, condition) == .blocked { return .blocked }
        case 2 where kind == .threeD:
            try release(address, 0, isWide: false, hasTimestamp: hasTimestamp)
        default: throw refuse(.unsupportedValue)
        }
        return performState(kind, 0x1b0c, value)
    }
}
