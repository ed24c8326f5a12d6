import Fencing
import Memory
import PageTables

// Binds that are refused for what they ask for.
extension NouveauFile {
    /// Records of a file: a program that is out to fill the log with them must not.
    private static let maximumRefusals = 64

    /// Enters a refused operation of VM_BIND into the fault log: the driver hears an errno and at best
    /// tells its program that the device is lost.
    func noteRefusal(
        _ error: IoctlError, _ array: IoctlBytes, _ index: Int, of count: Int, in vm: DeviceVM
    ) {
        let device = shared.device
        device.counters.refusedBinds.add(1, ordering: .relaxed)
        guard refusedBinds.add(1, ordering: .relaxed).oldValue < Self.maximumRefusals else {
            return
        }
        let base = index * Self.bindOpBytes
        let isSparse = array.read(base + 4, as: UInt32.self) & 0x100 != 0
        let isUnmap = array.read(base, as: UInt32.self) == 1
        let time = Runtime.now()
        let operation = OperationRecord(
            kind: isUnmap
                ? isSparse ? .removeSparse : .unmap : isSparse ? .createSparse : .map,
            address: array.read(base + 16), range: array.read(base + 32), time: time)
        var mapping = MappingInfo(
            address: operation.address, range: operation.range, offset: array.read(base + 24),
            flags: [])
        let buffer = operation.kind == .map ? try? gem(array.read(base + 8)) : nil
        if let buffer {
            mapping.buffer = buffer.id
            mapping.name = buffer.name
            mapping.placement = buffer.placement
        }
        let refusal = RefusedBind(
            errno: error.errno, operation: operation, index: index, count: count,
            mapping: mapping, bufferBytes: buffer?.size ?? 0, reason: error.text)
        let id = device.faults.enter(
            FaultReport(
                time: time, client: client.id, vm: vm.id, queue: 0, engine: 0, refusal: refusal,
                isFatal: false),
            in: vm)
        device.events.postFault(id)
    }

    /// What is wrong with a map of `range` bytes from `offset` on.
    static func outOfBuffer(_ range: UInt64, _ offset: UInt64, bytes: UInt64) -> String {
        if offset % frameSize != 0 { return "the offset into the buffer is no multiple of a page" }
        return offset >= bytes
            ? "all of it lies behind the buffer's end"
            : "it ends 0x\(hex(range - (bytes - offset))) bytes behind the buffer's end"
    }
}
