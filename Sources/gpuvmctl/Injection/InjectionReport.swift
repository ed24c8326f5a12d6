import CWireProtocol
import WireProtocol

/// Rules of fault injection and what they have done, for people and for programs.
enum InjectionReport {
    static func list(_ records: [gpuvm_injection_record]) -> Report {
        var table = TextTable([
            ("ID", .right), ("STATE", .left), ("MET", .right), ("FIRED", .right),
            ("RULE", .left),
        ])
        for record in records {
            table.add([
                "\(record.id)", record.active == 0 ? "spent" : "active", "\(record.seen)",
                "\(record.fired)", text(record.rule),
            ])
        }
        return Report(
            lines: records.isEmpty ? ["no rules"] : table.lines(),
            json: [("injections", .array(records.map { json($0) }))])
    }

    static func firings(_ firings: [gpuvm_injection_firing]) -> Report {
        var table = TextTable([
            ("ID", .right), ("RULE", .right), ("KIND", .left), ("AT", .left), ("NUMBER", .right),
            ("CLIENT", .right), ("VM", .right), ("QUEUE", .right), ("AFFECTED", .right),
            ("NAME", .left),
        ])
        func id(_ number: UInt32) -> String { number == 0 ? "-" : "\(number)" }
        for firing in firings {
            table.add([
                "\(firing.id)", "\(firing.rule)", kind(firing.kind),
                firing.operation == 0 ? "now" : operations(firing.operation),
                firing.ordinal == 0 ? "-" : "\(firing.ordinal)", id(firing.client_id),
                id(firing.vm), id(firing.queue), "\(firing.affected)", Names.text(firing.client),
            ])
        }
        return Report(
            lines: firings.isEmpty ? ["no rule has fired"] : table.lines(),
            json: [("firings", .array(firings.map { json($0) }))])
    }

    /// The rule as it can be written again.
    static func text(_ rule: gpuvm_injection) -> String {
        var items: [String] = []
        func add(_ key: String, _ value: some CustomStringConvertible, _ isThere: Bool) {
            if isThere { items.append("\(key)=\(value)") }
        }
        let isNow = rule.flags & GPUVM_INJECT_NOW != 0
        if isNow { items.append("now") }
        let hasChoice =
            rule.kind == GPUVM_INJECT_OOM.rawValue || rule.kind == GPUVM_INJECT_DELAY.rawValue
        add("op", operations(rule.operations), hasChoice && rule.operations != 0)
        add("duration", duration(rule.duration_ns), rule.duration_ns != 0)
        add("at", "signal", rule.flags & GPUVM_INJECT_DELAY_SIGNAL != 0)
        add("address", hex(rule.address), rule.flags & GPUVM_INJECT_HAS_ADDRESS != 0)
        let isFetch = rule.access == GPUVM_ACCESS_FETCH.rawValue
        add(
            "access", Names.access(rule.access),
            rule.kind == GPUVM_INJECT_FAULT.rawValue && !isFetch)
        add("after", rule.after, rule.after != 0)
        add("every", rule.every, rule.every != 1)
        add("probability", fraction(rule.probability), rule.probability != 1_000_000)
        add("seed", rule.seed, rule.seed != 0)
        add("count", rule.count == 0 ? "unlimited" : "\(rule.count)", !isNow)
        add("client", rule.target_client, rule.target_client != 0)
        add("pid", rule.target_pid, rule.target_pid != 0)
        add("vm", rule.target_vm, rule.target_vm != 0)
        add("queue", rule.target_queue, rule.target_queue != 0)
        let name = Names.text(rule.target_name)
        add("name", name, !name.isEmpty)
        let kind = Self.kind(rule.kind)
        return items.isEmpty ? kind : "\(kind):\(items.joined(separator: ","))"
    }

    static func json(_ record: gpuvm_injection_record) -> JSON {
        .object([
            ("id", .number(record.id)),
            ("kind", .string(kind(record.rule.kind))),
            ("rule", .string(text(record.rule))),
            ("active", .bool(record.active != 0)),
            ("met", .number(record.seen)),
            ("fired", .number(record.fired)),
            ("created_ns", .number(record.created)),
            ("last_fired_ns", record.last_fired == 0 ? .null : .number(record.last_fired)),
        ])
    }

    static func json(_ firing: gpuvm_injection_firing) -> JSON {
        .object([
            ("id", .number(firing.id)),
            ("timestamp_ns", .number(firing.timestamp)),
            ("rule", .number(firing.rule)),
            ("kind", .string(kind(firing.kind))),
            (
                "operation",
                firing.operation == 0 ? .null : .string(operations(firing.operation))
            ),
            ("ordinal", firing.ordinal == 0 ? .null : .number(firing.ordinal)),
            ("client", firing.client_id == 0 ? .null : .number(firing.client_id)),
            ("pid", .signed(Int64(firing.pid))),
            ("name", .string(Names.text(firing.client))),
            ("vm", firing.vm == 0 ? .null : .number(firing.vm)),
            ("queue", firing.queue == 0 ? .null : .number(firing.queue)),
            ("affected", .number(firing.affected)),
        ])
    }

    static func kind(_ number: UInt32) -> String {
        InjectionText.kinds.first { $0.kind.rawValue == number }?.name ?? "kind-\(number)"
    }

    private static func operations(_ bits: UInt32) -> String {
        let known = InjectionText.operations.filter { bits & $0.bit != 0 }
        let rest = known.reduce(bits) { $0 & ~$1.bit }
        return (known.map(\.name) + (rest == 0 ? [] : [hex(UInt64(rest))]))
            .joined(separator: "+")
    }

    private static func duration(_ nanoseconds: UInt64) -> String {
        let units: [(String, UInt64)] = [
            ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000),
        ]
        for (name, factor) in units where nanoseconds % factor == 0 {
            return "\(nanoseconds / factor)\(name)"
        }
        return "\(nanoseconds)ns"
    }

    private static func fraction(_ millionths: UInt32) -> String {
        var digits = String(millionths % 1_000_000)
        digits = String(repeating: "0", count: 6 - digits.count) + digits
        while digits.last == "0" { digits.removeLast() }
        return "\(millionths / 1_000_000).\(digits)"
    }
}
