import CWireProtocol
import GPUVMClient

/// Looks at all that a daemon has: what nobody may change but its owner.
final class Bystander: Sendable {
    private let connection: Connection

    init(_ connection: Connection) { self.connection = connection }

    /// Every mapping, VM, queue and count of the device, as bytes.
    func view() throws -> View {
        let status = try connection.status()
        var view = View(counts: DeviceCounts(status))
        for vm in try connection.vms() {
            view.records.append(bytes(of: vm))
            view.records += try connection.mappings(ofVM: vm.id).map(bytes(of:))
        }
        view.records += try connection.queues().map(bytes(of:))
        view.faults = status.faults
        view.jobs = status.bind_jobs + status.exec_jobs
        return view
    }

    struct View: Equatable {
        var counts: DeviceCounts
        var records: [[UInt8]] = []
        var faults: UInt64 = 0
        var jobs: UInt64 = 0
    }

    private func bytes<T: BitwiseCopyable>(of record: T) -> [UInt8] {
        withUnsafeBytes(of: record) { Array($0) }
    }
}
