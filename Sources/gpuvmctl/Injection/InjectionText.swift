import CWireProtocol
import WireProtocol

/// Rules of fault injection as people write them: `oom:op=gem-new,after=3,count=2`.
///
/// `KIND[:KEY=VALUE,…]`; the options of `gpuvmctl inject KIND` are the same keys.
enum InjectionText {
    /// What is wrong with a rule, and what to do.
    struct Problem: Error, Equatable {
        var text: String
    }

    static let kinds: [(name: String, kind: gpuvm_inject_kind)] = [
        ("hang", GPUVM_INJECT_HANG), ("fault", GPUVM_INJECT_FAULT), ("oom", GPUVM_INJECT_OOM),
        ("eviction", GPUVM_INJECT_EVICTION), ("delay", GPUVM_INJECT_DELAY),
        ("device-lost", GPUVM_INJECT_DEVICE_LOST),
    ]

    static let operations: [(name: String, bit: UInt32)] = [
        ("gem-new", GPUVM_INJECT_AT_GEM_NEW), ("gem-import", GPUVM_INJECT_AT_GEM_IMPORT),
        ("vm-init", GPUVM_INJECT_AT_VM_INIT), ("vm-bind", GPUVM_INJECT_AT_VM_BIND),
        ("channel-alloc", GPUVM_INJECT_AT_CHANNEL_ALLOC), ("exec", GPUVM_INJECT_AT_EXEC),
        ("syncobj-create", GPUVM_INJECT_AT_SYNCOBJ_CREATE), ("mmap", GPUVM_INJECT_AT_MMAP),
    ]

    static let accesses: [(name: String, access: gpuvm_fault_access)] = [
        ("read", GPUVM_ACCESS_READ), ("write", GPUVM_ACCESS_WRITE),
        ("fetch", GPUVM_ACCESS_FETCH),
    ]

    private static let units: [(name: String, nanoseconds: UInt64)] = [
        ("min", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000), ("ns", 1),
    ]

    /// All keys, and what their values are.
    static let keys: [(name: String, meaning: String)] = [
        ("count", "how often at most: a number, or unlimited"),
        ("after", "how many requests pass first"),
        ("every", "of those behind them, each one of this number"),
        ("probability", "the chance of each: above 0, up to 1, six decimals"),
        ("seed", "what the chances are drawn from"),
        ("op", "the requests, joined by +: \(operations.map(\.name).joined(separator: ", "))"),
        ("client", "a client's id"), ("pid", "a process id"),
        ("name", "a program's name"), ("vm", "a VM's id"), ("queue", "a queue's id"),
        ("duration", "of a delay: 500us, 20ms, 3s"),
        ("at", "where a delay is: start or signal"),
        ("address", "of a fault: a GPU address"), ("access", "of a fault: read, write or fetch"),
        ("now", "eviction and device-lost: at once, to all whom it meets"),
    ]

    /// Reads a rule.
    ///
    /// - Throws: What is wrong, where, and what to do.
    static func parse(_ text: String) throws(Problem) -> gpuvm_injection {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        var pairs: [(String, String?)] = []
        if parts.count == 2 {
            for item in parts[1].split(separator: ",", omittingEmptySubsequences: false) {
                let pair = item.split(
                    separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                pairs.append((String(pair[0]), pair.count == 2 ? String(pair[1]) : nil))
            }
        }
        do throws(Problem) {
            return try rule(String(parts[0]), pairs)
        } catch {
            throw Problem(text: "“\(text)”: \(error.text)")
        }
    }

    /// A rule of a kind and its keys in any order; `now` alone needs no value.
    static func rule(
        _ kind: String, _ pairs: [(key: String, value: String?)]
    ) throws(Problem) -> gpuvm_injection {
        guard let known = kinds.first(where: { $0.name == kind }) else {
            throw Problem(
                text: "no kind is called “\(kind)”: there are \(names(kinds.map(\.name)))")
        }
        var rule = gpuvm_injection()
        rule.kind = known.kind.rawValue
        rule.count = 1
        rule.every = 1
        rule.probability = 1_000_000
        if known.kind == GPUVM_INJECT_FAULT { rule.access = GPUVM_ACCESS_FETCH.rawValue }
        var seen: Set<String> = []
        for (key, value) in pairs {
            guard keys.contains(where: { $0.name == key }) else {
                throw Problem(
                    text: "no key is called “\(key)”: there are \(names(keys.map(\.name)))")
            }
            guard seen.insert(key).inserted else { throw Problem(text: "\(key) is there twice") }
            try set(key, value, of: &rule)
        }
        // Who says how often of many does not mean the first one.
        if !seen.contains("count"), seen.contains("every") || seen.contains("probability") {
            rule.count = 0
        }
        try check(rule, known.name, seen)
        return rule
    }

    private static func set(
        _ key: String, _ value: String?, of rule: inout gpuvm_injection
    ) throws(Problem) {
        if key == "now" {
            guard value == nil else { throw Problem(text: "now takes no value") }
            rule.flags |= GPUVM_INJECT_NOW
            return
        }
        guard let value, !value.isEmpty else {
            let meaning = keys.first { $0.name == key }?.meaning ?? ""
            throw Problem(text: "\(key) needs a value, as in \(key)=…: \(meaning)")
        }
        switch key {
        case "count":
            rule.count = value == "unlimited" ? 0 : try number(key, value, 1)
        case "after": rule.after = try number(key, value, 0)
        case "every": rule.every = try number(key, value, 1)
        case "probability": rule.probability = try probability(value)
        case "seed": rule.seed = try number(key, value, 0)
        case "op": rule.operations = try bits(value)
        case "client": rule.target_client = UInt32(try number(key, value, 1, UInt64(UInt32.max)))
        case "pid": rule.target_pid = Int32(try number(key, value, 1, UInt64(Int32.max)))
        case "vm": rule.target_vm = UInt32(try number(key, value, 1, UInt64(UInt32.max)))
        case "queue": rule.target_queue = UInt32(try number(key, value, 1, UInt64(UInt32.max)))
        case "name":
            guard value.utf8.count <= Int(GPUVM_NAME_BYTES) else {
                throw Problem(text: "name=\(value): a name has at most \(GPUVM_NAME_BYTES) bytes")
            }
            rule.target_name = WireName.encode(value)
        case "duration": rule.duration_ns = try duration(value)
        case "at":
            guard ["start", "signal"].contains(value) else {
                throw Problem(text: "at=\(value): a delay is at the start or the signal")
            }
            if value == "signal" { rule.flags |= GPUVM_INJECT_DELAY_SIGNAL }
        case "address":
            rule.flags |= GPUVM_INJECT_HAS_ADDRESS
            rule.address = try number(key, value, 0)
        case "access":
            guard let access = accesses.first(where: { $0.name == value })?.access else {
                throw Problem(text: "access=\(value): there are read, write and fetch")
            }
            rule.access = access.rawValue
        default: break
        }
    }

    /// What only one kind has; the rest is the daemon's to say.
    private static func check(
        _ rule: gpuvm_injection, _ kind: String, _ seen: Set<String>
    ) throws(Problem) {
        let own: [(keys: [String], kinds: [gpuvm_inject_kind])] = [
            (["duration", "at"], [GPUVM_INJECT_DELAY]),
            (["address", "access"], [GPUVM_INJECT_FAULT]),
            (["now"], [GPUVM_INJECT_EVICTION, GPUVM_INJECT_DEVICE_LOST]),
            (["op"], [GPUVM_INJECT_OOM, GPUVM_INJECT_DELAY]),
        ]
        for (keys, of) in own where !of.contains(where: { $0.rawValue == rule.kind }) {
            guard let key = keys.first(where: seen.contains) else { continue }
            let owners = kinds.filter { one in of.contains { $0 == one.kind } }.map(\.name)
            throw Problem(
                text: "\(key) belongs to \(owners.joined(separator: " and ")), not to \(kind)")
        }
        if rule.kind == GPUVM_INJECT_DELAY.rawValue {
            guard seen.contains("duration") else {
                throw Problem(text: "a delay needs a duration, as in delay:duration=20ms")
            }
            guard rule.operations & ~(GPUVM_INJECT_AT_EXEC | GPUVM_INJECT_AT_VM_BIND) == 0 else {
                throw Problem(text: "what can be delayed is exec and vm-bind")
            }
        }
        if seen.contains("seed"), !seen.contains("probability") {
            throw Problem(text: "a seed without a probability draws nothing: add probability=…")
        }
        let counted = ["count", "after", "every", "probability", "seed"]
        if seen.contains("now"), let key = counted.first(where: seen.contains) {
            throw Problem(text: "\(key) counts requests, and what is now meets none")
        }
    }

    // MARK: values

    private static func number(
        _ key: String, _ text: String, _ least: UInt64, _ most: UInt64 = .max
    ) throws(Problem) -> UInt64 {
        let value =
            text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
        guard let value, !text.hasPrefix("+"), (least...most).contains(value) else {
            let range = most == .max ? "from \(least) on" : "\(least)…\(most)"
            throw Problem(text: "\(key)=\(text) is no whole number \(range)")
        }
        return value
    }

    /// A decimal fraction in millionths.
    private static func probability(_ text: String) throws(Problem) -> UInt32 {
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        let decimals = parts.count == 2 ? parts[1] : ""
        let digits =
            String(parts[0]) + decimals + String(repeating: "0", count: max(0, 6 - decimals.count))
        guard !parts[0].isEmpty, decimals.count <= 6, parts.count == 1 || !decimals.isEmpty,
            digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let millionths = UInt32(digits), (1...1_000_000).contains(millionths)
        else {
            throw Problem(
                text:
                    "probability=\(text): it is above 0 and up to 1, such as 0.25, with at most six decimals"
            )
        }
        return millionths
    }

    private static func bits(_ text: String) throws(Problem) -> UInt32 {
        var bits: UInt32 = 0
        for name in text.split(separator: "+", omittingEmptySubsequences: false) {
            guard let known = operations.first(where: { $0.name == name }) else {
                throw Problem(
                    text: "op=\(name) is no request: there are \(names(operations.map(\.name)))")
            }
            bits |= known.bit
        }
        return bits
    }

    private static func duration(_ text: String) throws(Problem) -> UInt64 {
        let digits = text.prefix { ("0"..."9").contains($0) }
        let unit = units.first { $0.name == text[digits.endIndex...] }
        if let unit, let number = UInt64(digits) {
            let (value, overflow) = number.multipliedReportingOverflow(by: unit.nanoseconds)
            if !overflow, (1...600_000_000_000).contains(value) { return value }
        }
        throw Problem(
            text: "duration=\(text): it is a whole number with a unit, 1ns to 10min, such as 20ms")
    }

    private static func names(_ list: [String]) -> String { list.joined(separator: ", ") }
}
