import CWireProtocol

/// Where the buffers of one owner are, at one moment.
struct PressureResidency: Equatable {
    var vramBytes: UInt64 = 0
    var evictedBytes: UInt64 = 0
    var resident = 0
    var evicted = 0

    /// Counts a buffer that wants to be in VRAM; others do not matter here.
    mutating func add(_ buffer: gpuvm_bo_record) {
        guard buffer.wanted == GPUVM_PLACE_VRAM else { return }
        if buffer.placement == GPUVM_PLACE_VRAM {
            vramBytes += buffer.size
            resident += 1
        } else {
            evictedBytes += buffer.size
            evicted += 1
        }
    }
}

/// What the demo saw of the daemon at one moment.
struct PressureSample {
    /// Since the clients began, ns.
    var elapsed: UInt64
    var memory: gpuvm_memory_info_reply
    /// By the number of the demo's client.
    var owners: [PressureResidency]
    /// Of clients that are none of the demo's.
    var others: PressureResidency
    var rounds: [Int]
    var jobs: [UInt64]
}

/// What `demo --pressure` has found out.
struct PressureReport {
    /// A client as it described itself.
    struct Client {
        /// The daemon's number for it; 0 until it is ready.
        var id: UInt32 = 0
        var vms = 0
        var buffers = 0
        var bytes: UInt64 = 0
        var rounds = 0
        var jobs: UInt64 = 0
        var verifiedBytes: UInt64 = 0
    }

    /// A byte that is not what a client's model says.
    struct Mismatch: Equatable {
        var client: Int
        var buffer: String
        var difference: PressureModel.Difference
    }

    var server = ""
    var scenario: PressureScenario
    var clients = [Client](repeating: Client(), count: PressureScenario.clients)
    /// Before the clients came.
    var before = gpuvm_memory_info_reply()
    var samples: [PressureSample] = []
    /// Faults of the demo's clients.
    var faults = 0
    /// From the start of the work to the end of the comparison, ns.
    var elapsed: UInt64 = 0
    var mismatches: [Mismatch] = []
    /// What did not go as it has to, in sentences.
    var problems: [String] = []
    /// Whether an EXEC or a BO_CREATE was refused for want of memory.
    var isMemoryRefused = false

    var verifiedBytes: UInt64 { clients.reduce(0) { $0 + $1.verifiedBytes } }
    var bytes: UInt64 { clients.reduce(0) { $0 + $1.bytes } }
    var buffers: Int { clients.reduce(0) { $0 + $1.buffers } }
    var vms: Int { clients.reduce(0) { $0 + $1.vms } }
    var jobs: UInt64 { clients.reduce(0) { $0 + $1.jobs } }

    /// How many times the buffers exceed VRAM, in tenths.
    var overcommitTenths: UInt64 {
        scenario.capacity == 0 ? 0 : bytes * 10 / scenario.capacity
    }

    private var last: gpuvm_memory_info_reply { samples.last?.memory ?? before }
    var evictions: UInt64 { last.evictions &- before.evictions }
    var restores: UInt64 { last.restores &- before.restores }
    var bytesMoved: UInt64 { last.bytes_moved &- before.bytes_moved }

    /// Why the demo has not shown what it is for; empty if it has.
    var failures: [String] {
        var failures: [String] = []
        if !mismatches.isEmpty { failures.append("bytes are wrong") }
        if !problems.isEmpty { failures.append("not everything went through") }
        if faults > 0 { failures.append("\(faults) faults") }
        if bytes == 0 || verifiedBytes != bytes {
            failures.append("\(verifiedBytes) of \(bytes) bytes verified")
        }
        if bytes < PressureScenario.overcommit * scenario.capacity {
            failures.append("VRAM was not over-committed as it should have been")
        }
        if evictions == 0 { failures.append("nothing was evicted, so nothing is proved") }
        if restores == 0 { failures.append("nothing was brought back, so nothing is proved") }
        return failures
    }

    /// Whether every byte survived, and had to.
    var passed: Bool { failures.isEmpty }
}
