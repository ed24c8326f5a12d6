import Engines
import PageTables

/// A fault as an operator wants to see it: where, what, who, and what lies around.
public struct FaultReport: Sendable {
    /// Ascending in the order of happening; 0 until it is in the log.
    public var id: UInt64 = 0
    /// CLOCK_MONOTONIC ns.
    public var time: UInt64
    /// The client's id.
    public var client: UInt32
    /// The VM's device-wide id.
    public var vm: UInt32
    /// The queue's device-wide id.
    public var queue: UInt32
    /// The copy engine's instance.
    public var engine: Int
    /// What failed, in which command.
    public var failure: EngineFailure
    /// The mapping that contains the address, or else the nearest one below.
    public var below: MappingInfo?
    /// The nearest mapping above the address.
    public var above: MappingInfo?
    /// The last bind operation that touched the address, if the VM still remembers it.
    public var lastOperation: OperationRecord?

    /// The GPU virtual address that the fault is about.
    public var address: UInt64 { failure.fault?.address ?? failure.command }
}

extension FaultReport: CustomStringConvertible {
    /// One line that says it all.
    public var description: String {
        func show(_ mapping: MappingInfo?) -> String {
            guard let mapping else { return "none" }
            let name = mapping.buffer == 0 ? "" : " “\(mapping.name)”"
            return "0x\(hex(mapping.address))+0x\(hex(mapping.range))\(name)"
        }
        let last = lastOperation.map { "\($0.kind) 0x\(hex($0.address))+0x\(hex($0.range))" }
        return """
            \(failure); at or below: \(show(below)); above: \(show(above)); last operation there: \
            \(last ?? "none")
            """
    }
}
