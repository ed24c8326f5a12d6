import Engines
import PageTables

/// A fault as an operator wants to see it: where, what, who, and what lies around.
///
/// Three things are one: an access or a command that ended a job; a missing barrier between copies,
/// which ends none unless it is configured to; and a bind that the driver's personality refused.
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
    /// What failed, in which command; nil for what no engine did.
    public var failure: EngineFailure?
    /// The bind that was refused, if it is about one.
    public var refusal: RefusedBind?
    /// Whether it ended its job, and so banned its queue.
    public var isFatal: Bool
    /// The rule of fault injection that made it; 0: it is the client's own.
    public var injection: UInt32 = 0
    /// The mapping that contains the address, or else the nearest one below.
    public var below: MappingInfo?
    /// The nearest mapping above the address.
    public var above: MappingInfo?
    /// The last bind operation that touched the address, if the VM still remembers it.
    public var lastOperation: OperationRecord?

    /// What kind of thing it is, in two words.
    public var title: String {
        if refusal != nil { return "Bind refused" }
        if injection != 0 { return "Injected GPU fault" }
        return failure?.hazard == nil ? "GPU fault" : "GPU hazard"
    }

    /// The GPU virtual address that the fault is about.
    public var address: UInt64 {
        refusal?.operation.address ?? failure?.fault?.address ?? failure?.hazard?.address
            ?? failure?.command ?? 0
    }
}

extension FaultReport: CustomStringConvertible {
    /// One line that says it all.
    public var description: String {
        func show(_ mapping: MappingInfo?) -> String {
            guard let mapping else { return "none" }
            let name = mapping.buffer == 0 ? "" : " “\(mapping.name)”"
            return "0x\(hex(mapping.address))+0x\(hex(mapping.range))\(name)"
        }
        var what = refusal?.description ?? failure?.description ?? ""
        if injection != 0 { what = "injected by rule \(injection): \(what)" }
        let last = lastOperation.map { "\($0.kind) 0x\(hex($0.address))+0x\(hex($0.range))" }
        var hint = ""
        if injection == 0, case .notMapped? = failure?.fault?.reason,
            lastOperation?.kind == .unmap || lastOperation?.kind == .unmapAll
        {
            hint = "; so it is memory that was freed, and is used still"
        }
        return """
            \(what); at or below: \(show(below)); above: \(show(above)); last operation there: \
            \(last ?? "none")\(hint)
            """
    }
}
