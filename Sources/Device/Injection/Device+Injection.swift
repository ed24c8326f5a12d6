import Fencing
import GPUVMCore
import Glibc
import Memory

// What rules do to a device.
extension Device {
    func tell(_ firing: InjectionFiring, isNow: Bool = false) {
        events.post(.injected(injector.record(firing, isNow: isNow)))
    }

    /// Does what a rule says at once, to all whom it meets.
    ///
    /// - Returns: How many buffers left VRAM, or queues were killed.
    func carryOutNow(_ rule: InjectionRule, id: UInt32) -> Int {
        let target = rule.target
        let met = clients.filter { target.matches($0) }
        var affected = 0
        for client in met {
            switch rule.kind {
            case .eviction:
                guard target.vm != nil || target.queue != nil else {
                    affected += evictBuffers(of: client, mappedBy: nil)
                    continue
                }
                var vms = client.allVMs.map(\.vm).filter { $0.id == target.vm ?? $0.id }
                if let queue = target.queue {
                    let vm = client.allQueues.first { $0.id == queue }?.vm
                    vms.removeAll { $0 !== vm }
                }
                for vm in vms { affected += evictBuffers(of: client, mappedBy: vm) }
            case .deviceLost: affected += killQueues(of: client, target)
            case .hang, .fault, .shortage, .delay: break
            }
        }
        let only = met.count == 1 ? met[0] : nil
        tell(
            InjectionFiring(
                time: Runtime.now(), rule: id, kind: rule.kind, operation: [], ordinal: 0,
                client: only?.id ?? 0, clientName: only?.name ?? "",
                process: only?.process ?? 0, vm: target.vm ?? 0, queue: target.queue ?? 0,
                affected: UInt32(clamping: affected)), isNow: true)
        return affected
    }

    /// Kills a client's exec queues, as the reset of a GPU does: their jobs end with an error, and
    /// later ones are refused. Its VMs go on, so that it can let go of them in order.
    ///
    /// - Returns: How many took jobs until now.
    func killQueues(of client: Client, _ target: InjectionTarget) -> Int {
        var killed = 0
        for queue in client.allQueues where queue.engineClass == .copy {
            guard queue.id == target.queue ?? queue.id, queue.vm.id == target.vm ?? queue.vm.id,
                queue.jobs.status.state == .active
            else { continue }
            queue.jobs.kill(reason: ENODEV)
            killed += 1
        }
        return killed
    }

    /// Sends a client's own buffers from VRAM to system memory, as far as that has room; the next job
    /// that may use them brings them back.
    ///
    /// - Parameter vm: Only those that it maps; nil: all.
    /// - Returns: How many have left.
    func evictBuffers(of client: Client, mappedBy vm: DeviceVM?) -> Int {
        var evicted = 0
        for buffer in buffers where buffer.creator == client.id {
            if let vm, vm.mappingCount(of: buffer) == 0 { continue }
            // Without hard references it is on its way out.
            guard buffer.tryAcquireHardReference() else { continue }
            defer { buffer.releaseHardReference() }
            if evict(buffer, client.cancellation) { evicted += 1 }
        }
        unmapUnheldBuffers()
        return evicted
    }

    private func evict(_ buffer: BufferObject, _ cancellation: Cancellation) -> Bool {
        var locking = ExecLocking(ignoresDuplicates: true, cancellation: cancellation)
        var hasLeft = false
        do throws(DeviceError) {
            try locking.lockAll { locking throws(GPUVMError) in
                try locking.prepare(buffer, slots: 1)
            } then: { _ throws(ResidencyError) in
                hasLeft = try residency.evict(buffer)
            }
        } catch {
            // The client is being closed, or the device is: there is nothing left to test.
            return false
        }
        locking.unlockAll()
        return hasLeft
    }
}
