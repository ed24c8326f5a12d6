import CWireProtocol
import GPUVMClient

/// What the demo has read from the daemon, in the order of the scenario.
struct DemoReport {
    /// A buffer as BO_INFO describes it.
    struct Buffer {
        var handle: UInt32
        var info: gpuvm_bo_info_reply
    }

    /// A bind and the operations that it became.
    struct Bind {
        var title: String
        var fence: FenceID
        var operations: [gpuvm_op_record]
    }

    /// The asynchronous bind while it waits for its timeline point, and after.
    struct Pending {
        var fence: FenceID
        var point: UInt64
        var walkAddress: UInt64
        var before: State
        var after: State?

        /// What one look shows.
        struct State {
            var value: UInt64
            var fence: gpuvm_fence_info_reply
            var walk: gpuvm_vm_walk_reply
            var copied: Bool
        }
    }

    /// A job's times.
    struct Job {
        var title: String
        var fence: FenceID
        var info: gpuvm_fence_info_reply
    }

    /// A byte that is not what the model says: the first of a buffer.
    struct Mismatch {
        var buffer: String
        var offset: UInt64
        var expected: UInt8
        var found: UInt8
        var count: UInt64
    }

    var server = ServerFacts()
    var vm: gpuvm_vm_record?
    var buffers: [Buffer] = []
    var pending: Pending?
    var binds: [Bind] = []
    var mappings: [gpuvm_va_record] = []
    var walkAddress: UInt64 = 0
    var walk: gpuvm_vm_walk_reply?
    var fault: gpuvm_fault_record?
    var faultQueue: gpuvm_queue_info_reply?
    var refusal: String?
    var engineNanoseconds: UInt64?
    var jobs: [Job] = []
    var verifiedBytes: UInt64 = 0
    var mismatches: [Mismatch] = []
    /// What did not go as it has to, in sentences.
    var problems: [String] = []

    /// Who answered.
    struct ServerFacts {
        var name = ""
        var clientID: UInt32 = 0
        var pageBytes: UInt32 = 0
        var copyEngines: UInt32 = 0
    }

    /// Whether everything was right.
    var passed: Bool { problems.isEmpty && mismatches.isEmpty && verifiedBytes > 0 }

    /// A buffer's name as the daemon has it.
    func name(of handle: UInt32) -> String {
        guard let buffer = buffers.first(where: { $0.handle == handle }) else {
            return "BO \(handle)"
        }
        return Names.text(buffer.info.name)
    }
}
