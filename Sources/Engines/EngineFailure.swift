import Glibc
import PageTables

/// Why an engine stopped a job: the fault record of the hardware.
public struct EngineFailure: Error, Equatable, Sendable {
    /// What went wrong.
    public enum Cause: Equatable, Sendable {
        /// The MMU did not translate; the fault names address, access and reason.
        case fault(Fault)
        /// No command has this opcode.
        case unknownOpcode(UInt8)
        /// The header's length is not the opcode's.
        case wrongLength(dwords: Int, expected: Int)
        /// The flags have bits that the opcode does not define.
        case undefinedFlags(UInt8)
        /// An address is not a multiple of what the command needs.
        case misaligned(address: UInt64, alignment: UInt64)
        /// The command is not, or not wholly, inside of its batch's limit.
        case outsideBatch
        /// A method header has a form that is not supported.
        case badMethodHeader
        /// A subchannel was to be bound to a class that the chipset does not have.
        case unknownClass(UInt16)
        /// A method was sent to a subchannel that is bound to no class.
        case unboundSubchannel
        /// The method draws, dispatches, or is otherwise nothing that the engine carries out.
        case unsupportedMethod
        /// The method's data ask for something that the engine does not carry out.
        case unsupportedValue
        /// A macro could not go on.
        case macro(MacroFault)
        /// A barrier is missing before a launch of the copy class; whether that stops the job is the
        /// engine's ``HazardPolicy``.
        case hazard(CopyHazard)
    }

    /// What of the command was at work.
    public enum Operand: String, Equatable, Sendable {
        /// The command itself was fetched.
        case command
        /// The source of a copy.
        case source
        /// The destination of a copy, fill or store.
        case destination
        /// The semaphore of a wait or release.
        case semaphore
        /// The target of a jump.
        case target
    }

    /// The engine's name.
    public var engine: String
    /// The GPU VA at which the job's batch begins.
    public var batch: UInt64
    /// The GPU VA of the command.
    public var command: UInt64
    /// The command's header dword; nil if it could not be fetched.
    public var header: UInt32?
    /// What of the command was at work.
    public var operand: Operand
    /// The index of the command's dword that is to blame; 0 is the header.
    public var dword: Int
    /// What went wrong.
    public var cause: Cause
    /// The method at work, if the command is of a push buffer.
    public var method: NVIDIAMethod?

    /// The record of a fault that no access met: somebody wants it in the place of a job's first
    /// command.
    ///
    /// - Parameter commands: Where the job's first commands are.
    public static func injected(
        _ fault: Fault, engine: String, commands: UInt64
    ) -> EngineFailure {
        let operand: Operand =
            switch fault.access {
            case .fetch: .command
            case .read: .source
            case .write: .destination
            }
        return EngineFailure(
            engine: engine, batch: commands, command: commands, header: nil, operand: operand,
            dword: 0, cause: .fault(fault))
    }

    /// The MMU's fault, if it was one.
    public var fault: Fault? {
        if case .fault(let fault) = cause { fault } else { nil }
    }

    /// The missing barrier, if it was one.
    public var hazard: CopyHazard? {
        if case .hazard(let hazard) = cause { hazard } else { nil }
    }

    /// The errno of the job's fence: EIO for all, as hardware cannot tell a client more.
    ///
    /// Source: i915 marks the request that hung an engine with -EIO
    /// (drivers/gpu/drm/i915/gt/intel_reset.c, mark_guilty).
    public var errno: Int32 { EIO }
}

extension EngineFailure: CustomStringConvertible {
    /// One sentence: what, where and in which command.
    public var description: String {
        let what =
            switch cause {
            case .fault(let fault):
                "\(fault.access) fault at \(hex(fault.address)) (\(fault.reason))"
            case .unknownOpcode(let opcode): "unknown opcode \(hex(UInt64(opcode)))"
            case .wrongLength(let dwords, let expected):
                "length of \(dwords) dwords instead of \(expected)"
            case .undefinedFlags(let flags): "undefined flags \(hex(UInt64(flags)))"
            case .misaligned(let address, let alignment):
                "address \(hex(address)) is no multiple of \(alignment)"
            case .outsideBatch: "command outside of its batch"
            case .badMethodHeader: "unsupported method header \(hex(UInt64(header ?? 0)))"
            case .unknownClass(let classID): "unknown class \(hex(UInt64(classID)))"
            case .unboundSubchannel: "subchannel without a class"
            case .unsupportedMethod: "method that is not carried out"
            case .unsupportedValue: "value that is not carried out"
            case .macro(let fault): fault.rawValue
            case .hazard(let hazard): hazard.description
            }
        let name =
            cause == .badMethodHeader
            ? "push buffer"
            : method.map(\.description)
                ?? header.map { CommandFormat.name(opcode: UInt8(truncatingIfNeeded: $0)) }
        return """
            engine \(engine): \(what); \(operand.rawValue), dword \(dword) of \(name ?? "command") \
            at \(hex(command)), batch \(hex(batch))
            """
    }

    private func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
}
