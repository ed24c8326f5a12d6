import CWireProtocol

/// What the daemon did for a program: the difference of two states of its counters.
struct RunSummary {
    /// A counter by name.
    struct Count: Equatable {
        var name: String
        var error: Int32 = 0
        var count: UInt64
    }

    /// The totals.
    struct Totals: Equatable {
        var ioctls, failed, unknown: UInt64
        var bindOperations, pushes: UInt64
        var execJobs, bindJobs, failedJobs, faults: UInt64
        var bytesRead, bytesWritten: UInt64
        var evictions, restores, bytesMoved: UInt64
        var missingBarriers, refusedBinds: UInt64
    }

    let model: String
    let totals: Totals
    /// By how often.
    let ioctls: [Count]
    /// Those answered an errno, by errno.
    let errors: [Count]
    /// What was asked of VM_BIND.
    let asked: [Count]
    /// What the core made of it.
    let done: [Count]
    /// Methods that no engine carries out.
    let refused: [Count]
    let faults: [gpuvm_fault_record]
    /// Open files of the run.
    let files: [gpuvm_drm_file_record]
    /// What was done on purpose; nil if nothing was to be.
    let injections: RunInjections?

    /// Those that processes in the background have open still.
    var openFiles: [gpuvm_drm_file_record] { files.filter { $0.closed == 0 } }

    init(
        from before: RunCounters, to after: RunCounters, _ injections: RunInjections? = nil
    ) {
        self.injections = injections
        func info(_ field: KeyPath<gpuvm_drm_info_reply, UInt64>) -> UInt64 {
            after.info[keyPath: field] &- before.info[keyPath: field]
        }
        func status(_ field: KeyPath<gpuvm_status_reply, UInt64>) -> UInt64 {
            after.status[keyPath: field] &- before.status[keyPath: field]
        }
        func memory(_ field: KeyPath<gpuvm_memory_info_reply, UInt64>) -> UInt64 {
            after.memory[keyPath: field] &- before.memory[keyPath: field]
        }
        let since = after.counts.compactMap { key, record -> gpuvm_drm_count_record? in
            var record = record
            record.count &-= before.counts[key]?.count ?? 0
            return record.count == 0 ? nil : record
        }.sorted { ($1.count, $0.number, $0.error) < ($0.count, $1.number, $1.error) }
        func counts(_ kind: gpuvm_drm_count_kind) -> [gpuvm_drm_count_record] {
            since.filter { $0.kind == kind.rawValue }
        }
        let calls = counts(GPUVM_DRM_COUNT_IOCTL)
        model = Names.text(after.info.model)
        ioctls = Self.byName(calls)
        errors = calls.filter { $0.error != 0 }.map {
            Count(name: Names.text($0.name), error: $0.error, count: $0.count)
        }
        asked = Self.byName(counts(GPUVM_DRM_COUNT_ASKED))
        done = Self.byName(counts(GPUVM_DRM_COUNT_DONE))
        refused = counts(GPUVM_DRM_COUNT_REFUSED).map {
            Count(name: Self.method($0), count: $0.count)
        }
        let lastFault = before.faults.last?.id ?? 0
        faults = after.faults.filter { $0.id > lastFault }
        files = after.files.filter { !before.has($0.client_id) }
        totals = Totals(
            ioctls: ioctls.reduce(0) { $0 + $1.count },
            failed: errors.reduce(0) { $0 + $1.count }, unknown: info(\.unknown),
            bindOperations: info(\.bind_operations), pushes: info(\.pushes),
            execJobs: status(\.exec_jobs), bindJobs: status(\.bind_jobs),
            failedJobs: status(\.failed_jobs), faults: status(\.faults),
            bytesRead: status(\.bytes_read), bytesWritten: status(\.bytes_written),
            evictions: memory(\.evictions), restores: memory(\.restores),
            bytesMoved: memory(\.bytes_moved), missingBarriers: info(\.missing_barriers),
            refusedBinds: info(\.refused_binds))
    }

    private static func byName(_ records: [gpuvm_drm_count_record]) -> [Count] {
        var list: [Count] = []
        for record in records {
            let name = Names.text(record.name)
            if let index = list.firstIndex(where: { $0.name == name }) {
                list[index].count += record.count
            } else {
                list.append(Count(name: name, count: record.count))
            }
        }
        return list.sorted { ($1.count, $0.name) < ($0.count, $1.name) }
    }

    private static func method(_ record: gpuvm_drm_count_record) -> String {
        guard record.number != .max else { return Names.text(record.name) }
        let name = Names.text(record.name)
        return """
            class \(hex(UInt64(record.number >> 16))) method \
            \(hex(UInt64(record.number & 0xffff), digits: 4))\(name.isEmpty ? "" : " \(name)")
            """
    }
}
