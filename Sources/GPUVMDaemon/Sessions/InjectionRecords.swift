import CWireProtocol
import Device
import PageTables
import WireProtocol

/// Rules of fault injection as the wire has them.
enum InjectionRecords {
    /// What a request asks for; whether it makes sense is the device's to say.
    ///
    /// - Throws: EINVAL for numbers that mean nothing.
    static func rule(_ request: gpuvm_injection) throws(WireError) -> InjectionRule {
        guard let kind = InjectionKind(rawValue: request.kind) else {
            throw .invalid("no kind of fault injection has the number \(request.kind)")
        }
        try requireFlags(
            request.flags,
            known: GPUVM_INJECT_NOW | GPUVM_INJECT_DELAY_SIGNAL | GPUVM_INJECT_HAS_ADDRESS,
            "flags")
        try requireFlags(request.operations, known: InjectionOperations.all.rawValue, "operations")
        try requireZero(request.reserved, "reserved")
        let hasAddress = request.flags & GPUVM_INJECT_HAS_ADDRESS != 0
        guard hasAddress || request.address == 0 else {
            throw .invalid("an address without GPUVM_INJECT_HAS_ADDRESS")
        }
        guard request.target_pid >= 0 else {
            throw .invalid("a process id of \(request.target_pid)")
        }
        var rule = InjectionRule(kind)
        rule.operations = InjectionOperations(rawValue: request.operations)
        rule.isNow = request.flags & GPUVM_INJECT_NOW != 0
        rule.delaysSignal = request.flags & GPUVM_INJECT_DELAY_SIGNAL != 0
        rule.duration = request.duration_ns
        rule.schedule.seed = request.seed
        rule.schedule.count = request.count
        rule.schedule.after = request.after
        rule.schedule.every = request.every
        rule.schedule.probability = request.probability
        if hasAddress { rule.address = request.address }
        if kind == .fault {
            rule.access = try access(request.access)
        } else {
            try requireZero(request.access, "access (but of a fault)")
        }
        let name = try WireName.decode(request.target_name)
        if request.target_client != 0 { rule.target.client = request.target_client }
        if request.target_pid != 0 { rule.target.process = request.target_pid }
        if request.target_vm != 0 { rule.target.vm = request.target_vm }
        if request.target_queue != 0 { rule.target.queue = request.target_queue }
        if !name.isEmpty { rule.target.name = name }
        return rule
    }

    private static func access(_ value: UInt32) throws(WireError) -> AccessKind {
        switch value {
        case GPUVM_ACCESS_READ.rawValue: return .read
        case GPUVM_ACCESS_WRITE.rawValue: return .write
        case GPUVM_ACCESS_FETCH.rawValue: return .fetch
        default: throw .invalid("access \(value): 0 is read, 1 write and 2 fetch")
        }
    }

    static func record(_ status: InjectionStatus) -> gpuvm_injection_record {
        var record = gpuvm_injection_record()
        record.id = status.id
        record.active = status.isActive ? 1 : 0
        record.seen = status.seen
        record.fired = status.fired
        record.created = status.created
        record.last_fired = status.lastFired
        record.rule = wire(status.rule)
        return record
    }

    private static func wire(_ rule: InjectionRule) -> gpuvm_injection {
        var wire = gpuvm_injection()
        wire.kind = rule.kind.rawValue
        if rule.isNow { wire.flags |= GPUVM_INJECT_NOW }
        if rule.delaysSignal { wire.flags |= GPUVM_INJECT_DELAY_SIGNAL }
        if rule.address != nil { wire.flags |= GPUVM_INJECT_HAS_ADDRESS }
        wire.operations = rule.operations.rawValue
        wire.probability = rule.schedule.probability
        wire.seed = rule.schedule.seed
        wire.count = rule.schedule.count
        wire.after = rule.schedule.after
        wire.every = rule.schedule.every
        wire.duration_ns = rule.duration
        wire.address = rule.address ?? 0
        if rule.kind == .fault {
            wire.access =
                switch rule.access {
                case .read: GPUVM_ACCESS_READ.rawValue
                case .write: GPUVM_ACCESS_WRITE.rawValue
                case .fetch: GPUVM_ACCESS_FETCH.rawValue
                }
        }
        wire.target_client = rule.target.client ?? 0
        wire.target_pid = rule.target.process ?? 0
        wire.target_vm = rule.target.vm ?? 0
        wire.target_queue = rule.target.queue ?? 0
        wire.target_name = WireName.encode(rule.target.name ?? "")
        return wire
    }

    static func firing(_ firing: InjectionFiring) -> gpuvm_injection_firing {
        var record = gpuvm_injection_firing()
        record.id = firing.id
        record.timestamp = firing.time
        record.ordinal = firing.ordinal
        record.rule = firing.rule
        record.kind = firing.kind.rawValue
        record.operation = firing.operation.rawValue
        record.client_id = firing.client
        record.pid = firing.process
        record.vm = firing.vm
        record.queue = firing.queue
        record.affected = firing.affected
        record.client = WireName.encode(firing.clientName)
        return record
    }
}
