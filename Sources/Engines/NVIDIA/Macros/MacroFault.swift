/// Why the macro processor stopped a macro.
public enum MacroFault: String, Error, Equatable, Sendable {
    /// A pointer leads outside of the instruction or start-address memory.
    case badPointer = "pointer outside of the macro memory"
    /// The macro ran out of the instruction memory.
    case runaway = "macro ran out of the instruction memory"
    /// A macro was called while another one waits for parameters.
    case starved = "macro called while another one waits for parameters"
    /// An instruction has a register, output or operation that does not exist, or that this engine
    /// does not carry out.
    case badInstruction = "undefined or unsupported macro instruction"
    /// An instruction reads or writes data memory that does not exist.
    case badData = "access outside of the macro data memory"
    /// A loop begins inside of a loop.
    case nestedLoop = "loop inside of a macro's loop"
}
