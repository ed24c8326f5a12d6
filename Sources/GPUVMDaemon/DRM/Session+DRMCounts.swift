import CWireProtocol
import Device
import SystemPackage
import WireProtocol

/// What open files of the DRM shim came to, and sparse regions.
extension Session {
    /// Counters by name: of all files, or of one that the client may look at.
    ///
    /// - Throws: ENOENT for any other: who may not look at it does not learn that it is there.
    func drmCounts(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let page: gpuvm_page = try reader.read()
        try requireZero(page.flags, "flags")
        let records: [gpuvm_drm_count_record]
        if page.handle == 0 {
            records = counts(server.files.total) + deviceCounts()
        } else {
            guard let file = server.files.file(ofClient: page.handle), isVisible(file, to: client)
            else {
                throw WireError(
                    .noSuchFileOrDirectory,
                    "client \(page.handle) is no open file of the DRM shim, or was long ago")
            }
            records = counts(file.ledger)
        }
        return ListPage(
            records, after: page.cursor,
            key: {
                UInt64($0.kind) << 56 | UInt64($0.number) << 16
                    | UInt64(UInt16(truncatingIfNeeded: $0.error))
            }, record: { $0 }
        ).reply(to: message)
    }

    private func counts(_ ledger: CallLedger) -> [gpuvm_drm_count_record] {
        func name(_ entry: CallLedger.Entry, _ known: String) -> String {
            entry.number == CallLedger.others ? "others" : known
        }
        let calls = ledger.calls.map { entry in
            record(
                GPUVM_DRM_COUNT_IOCTL, entry.number, entry.count, error: entry.error,
                name: name(entry, IoctlName.name(UInt16(truncatingIfNeeded: entry.number))))
        }
        let refusals = ledger.refusals.map { entry in
            record(
                GPUVM_DRM_COUNT_REFUSED, entry.number, entry.count,
                name: name(entry, entry.name))
        }
        return calls + refusals
    }

    private func deviceCounts() -> [gpuvm_drm_count_record] {
        let asked = server.nouveau.statistics.current.bindOperations
        let names: [(BindOperation.Kind, String)] = [
            (.map, "map"), (.unmap, "unmap"), (.mapNull, "map null"), (.unmapAll, "unmap all"),
            (.prefetch, "prefetch"), (.createSparse, "sparse map"),
            (.removeSparse, "sparse unmap"),
        ]
        let done = server.device.status().operations
        let operations: [(gpuvm_drm_operation, String, UInt64)] = [
            (GPUVM_DRM_MAP, "map", done.maps), (GPUVM_DRM_REMAP, "remap", done.remaps),
            (GPUVM_DRM_UNMAP, "unmap", done.unmaps),
            (GPUVM_DRM_SPARSE_MAP, "sparse map", done.sparseMaps),
            (GPUVM_DRM_SPARSE_UNMAP, "sparse unmap", done.sparseUnmaps),
        ]
        return names.compactMap { kind, name in
            asked["\(kind)"].map {
                record(GPUVM_DRM_COUNT_ASKED, kind.rawValue, $0, name: name)
            }
        }
            + operations.map { number, name, count in
                record(GPUVM_DRM_COUNT_DONE, number.rawValue, count, name: name)
            }
    }

    private func record(
        _ kind: gpuvm_drm_count_kind, _ number: UInt32, _ count: UInt64, error: Int32 = 0,
        name: String
    ) -> gpuvm_drm_count_record {
        var record = gpuvm_drm_count_record()
        record.kind = kind.rawValue
        record.number = number
        record.error = error
        record.count = count
        record.name = WireName.encode(name)
        return record
    }

    /// Whether a client may look at an open file.
    private func isVisible(_ file: DRMFileList.File, to client: Client) -> Bool {
        client.isPrivileged || file.client == client.id
    }

    /// The files that the client may look at.
    func drmFileList(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let page = try readPage(message)
        let files = server.files.files.filter { isVisible($0, to: client) }
        return ListPage(
            files, after: page.cursor, key: { UInt64($0.client) },
            record: { file in
                let totals = file.ledger.totals
                var record = gpuvm_drm_file_record()
                record.client_id = file.client
                record.pid = file.process
                record.uid = file.user
                record.opened = file.opened
                record.closed = file.closed
                record.ioctls = totals.ioctls
                record.failed = totals.failed
                record.name = WireName.encode(file.name)
                return record
            }
        ).reply(to: message)
    }

    /// The sparse regions of a VM by address.
    func vmSparse(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let page: gpuvm_page = try reader.read()
        try requireZero(page.flags, "flags")
        let vm = try visibleVM(client, page.handle)
        // The end of a region is never 0, its beginning may be.
        return ListPage(
            vm.sparseRegions, after: page.cursor, key: \.upperBound,
            record: {
                gpuvm_va_range(address: $0.lowerBound, range: $0.upperBound - $0.lowerBound)
            }
        ).reply(to: message)
    }
}
