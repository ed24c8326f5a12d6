import CWireProtocol
import GPUVMClient
import Glibc

/// A daemon's counters at one moment.
struct RunCounters {
    struct Key: Hashable {
        var kind: UInt32
        var number: UInt32
        var error: Int32
    }

    var info: gpuvm_drm_info_reply
    var memory: gpuvm_memory_info_reply
    var status: gpuvm_status_reply
    var counts: [Key: gpuvm_drm_count_record]
    var files: [gpuvm_drm_file_record]
    var faults: [gpuvm_fault_record]

    init(_ connection: Connection) throws(ClientError) {
        files = try connection.drmFiles()
        info = try connection.drmInfo()
        memory = try connection.memoryInfo()
        status = try connection.status()
        faults = try connection.faults()
        counts = Dictionary(
            try connection.drmCounts().map {
                (Key(kind: $0.kind, number: $0.number, error: $0.error), $0)
            }, uniquingKeysWith: { first, _ in first })
    }

    /// The counters when all files opened since `before` are closed, or patience has ended: a program
    /// may have left processes behind, and the end of a file takes a moment.
    static func settled(
        _ connection: Connection, since before: RunCounters, patienceInMilliseconds: Int
    ) throws(ClientError) -> RunCounters {
        let step: Int32 = 5
        for _ in 0..<max(0, patienceInMilliseconds / Int(step)) {
            let isOpen = try connection.drmFiles().contains {
                $0.closed == 0 && !before.has($0.client_id)
            }
            guard isOpen else { break }
            // Nothing tells of a file's end; this waits for no descriptor.
            _ = poll(nil, 0, step)
        }
        return try RunCounters(connection)
    }

    /// Whether a file was there already.
    func has(_ client: UInt32) -> Bool { files.contains { $0.client_id == client } }
}
