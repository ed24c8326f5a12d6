import CWireProtocol

/// What the daemon did for a program.
struct RunSummary {
    let ioctls: UInt64
    let text: String

    init(from before: gpuvm_drm_info_reply, to after: gpuvm_drm_info_reply) {
        func since(_ field: KeyPath<gpuvm_drm_info_reply, UInt64>) -> UInt64 {
            after[keyPath: field] &- before[keyPath: field]
        }
        ioctls = since(\.ioctls)
        text = """
            gpuvmctl run: \(ioctls) ioctls (\(since(\.failed)) answered an errno, \
            \(since(\.unknown)) unknown), \(since(\.bind_operations)) bind operations, \
            \(since(\.pushes)) push buffers, \(since(\.jobs)) jobs (\(since(\.failed_jobs)) failed), \
            \(since(\.faults)) faults, \(since(\.bytes_read)) bytes read and \
            \(since(\.bytes_written)) written through the MMUs
            """
    }
}
