import CWireProtocol
import Device
import Fencing
import WireProtocol

/// What the address spaces of programs looked like at their fullest.
///
/// The fullest is the state with the most mappings and sparse regions, looked at before each VM_BIND
/// that takes something away and before the file is closed: nothing is copied while a space grows. A
/// VM whose state is copied again has grown by an eighth since the last time, so that all copies
/// together stay in proportion to the binds; the last picture is of the fullest or has at least
/// eight ninths of it.
///
/// Threading: any thread.
public final class AddressSpacePictures: Sendable {
    /// One address space, in the records of the wire.
    public struct Picture: Sendable {
        /// The VM.
        public var vm: gpuvm_vm_record
        /// Its mappings, by address.
        public var mappings: [gpuvm_va_record]
        /// Its sparse regions, by address.
        public var sparse: [gpuvm_va_range]
        /// CLOCK_MONOTONIC ns.
        public var time: UInt64
    }

    /// The most VMs that are remembered.
    public static let maximumVMs = 64

    private struct State {
        var pictures: [UInt32: Picture] = [:]
        var leftOut: Set<UInt32> = []
    }

    private let state = Guarded(.daemon, State())

    /// Nothing yet.
    public init() {}

    /// The pictures, by VM.
    public var pictures: [Picture] {
        state.withLock { Array($0.pictures.values) }.sorted { $0.vm.id < $1.vm.id }
    }

    /// How many VMs there was no room for.
    public var leftOut: Int { state.withLock { $0.leftOut.count } }

    /// Looks at a client's VMs before a call that may take something out of one.
    func noteBefore(_ call: IoctlCall, of client: Client) {
        guard call.request.type == 0x64, call.request.number == NouveauIoctl.vmBind.rawValue,
            let ops = call.blocks.first(where: { $0.parent == 0 && $0.pointerOffset == 32 })
        else { return }
        let unmaps = stride(from: 0, to: ops.contents.count / 40 * 40, by: 40).contains {
            ops.contents.read($0, as: UInt32.self) != 0
        }
        if unmaps { note(client) }
    }

    /// Looks at a client's VMs.
    func note(_ client: Client) {
        for (handle, vm) in client.allVMs {
            let fullness = vm.mappingCount + vm.sparseRegions.count
            let isWanted = state.withLock { state in
                guard let old = state.pictures[vm.id] else {
                    guard state.pictures.count < Self.maximumVMs else {
                        state.leftOut.insert(vm.id)
                        return false
                    }
                    return fullness != 0
                }
                let before = Int(old.vm.mappings) + old.sparse.count
                return fullness > before + before / 8
            }
            guard isWanted else { continue }
            let picture = Picture(
                vm: VMRecords.vm(vm, handle: handle),
                mappings: vm.mappings(from: 0, limit: .max).map { VMRecords.mapping($0) },
                sparse: vm.sparseRegions.map {
                    gpuvm_va_range(
                        address: $0.lowerBound, range: $0.upperBound - $0.lowerBound)
                },
                time: Runtime.now())
            state.withLock { $0.pictures[vm.id] = picture }
        }
    }
}
