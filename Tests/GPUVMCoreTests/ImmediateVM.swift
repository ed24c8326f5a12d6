import Fencing
import GPUVMCore

/// An immediate-mode VM as a bind job uses it: reserved and obtained outside, executed in a
/// signalling section under the VM's operation lock.
final class ImmediateVM: Sendable {
    let space: GPUVM
    let operation = Lock(.vmOperation)

    init(
        _ flags: GPUVMFlags = .immediateMode, start: UInt64 = 0, range: UInt64 = 1 << 30,
        reservedStart: UInt64 = 0, reservedRange: UInt64 = 0, capacity: Int = 4096
    ) throws {
        space = try GPUVM(
            flags: flags, start: start, range: range, reservedStart: reservedStart,
            reservedRange: reservedRange, capacity: capacity)
    }

    /// Runs `body` as a job does.
    func execute(_ body: () -> Void) {
        SignallingSection.run { operation.withLock(body) }
    }

    /// A whole map request. Returns how many mappings it took of those reserved.
    @discardableResult
    func map(
        _ request: MapRequest, carrying carried: GPUVAFlags = [],
        _ body: (GPUVAOp) -> Void = { _ in }
    ) throws -> Int {
        let pair = try request.object.map { try space.obtain($0) }
        var reservation = try space.reserveImmediate(maps: 1, unmaps: 0)
        let before = reservation.mappings
        execute {
            space.executeMap(
                request, pair: pair, carrying: carried, using: &reservation, body)
        }
        let used = before - reservation.mappings
        if let pair { space.put(pair) }
        return used
    }

    @discardableResult
    func unmap(
        _ address: UInt64, _ range: UInt64, carrying carried: GPUVAFlags = [],
        _ body: (GPUVAOp) -> Void = { _ in }
    ) throws -> Int {
        var reservation = try space.reserveImmediate(maps: 0, unmaps: 1)
        let before = reservation.mappings
        execute {
            space.executeUnmap(
                address: address, range: range, carrying: carried, using: &reservation, body)
        }
        return before - reservation.mappings
    }

    func unmap(_ object: GPUVMObject, _ body: (GPUVAOp) -> Void = { _ in }) throws {
        var reservation = try space.reserveImmediate(maps: 0, unmaps: 0)
        execute { space.executeUnmapObject(object, using: &reservation, body) }
    }
}
