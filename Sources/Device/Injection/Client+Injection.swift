import Engines
import Fencing
import Glibc

// What rules do to a client's requests.
extension Client {
    /// Whether it has made rules: such a one is met only by those that name it.
    var makesRules: Bool { hasMadeRules.load(ordering: .relaxed) }

    // MARK: rules

    /// Makes a rule, or does at once what it says.
    ///
    /// - Returns: The rule's id, and how many buffers left VRAM or queues were killed at once.
    /// - Throws: EPERM for a client that is not privileged, EINVAL for what makes no sense, EAGAIN for
    ///   too many rules.
    public func inject(
        _ rule: InjectionRule
    ) throws(DeviceError) -> (id: UInt32, affected: Int) {
        try checkMayInject()
        let rule = try rule.checked()
        hasMadeRules.store(true, ordering: .relaxed)
        let id = try device.injector.add(rule, at: Runtime.now())
        guard rule.isNow else { return (id, 0) }
        return (id, device.carryOutNow(rule, id: id))
    }

    /// Forgets a rule, or all; what they have done already goes on.
    ///
    /// - Returns: How many there were.
    /// - Throws: EPERM; ENOENT for a rule that there is not.
    public func removeInjections(_ id: UInt32? = nil) throws(DeviceError) -> Int {
        try checkMayInject()
        let removed = device.injector.remove(id)
        guard removed != 0 || id == nil else { throw .noSuch(.injection, handle: id ?? 0) }
        return removed
    }

    /// Throws EPERM unless the client may make faults, and see who meets them.
    public func checkMayInject() throws(DeviceError) {
        guard isPrivileged else {
            throw .notPermitted("faults on purpose are for root and the daemon's own user")
        }
    }

    // MARK: requests

    /// Fails if a rule wants a shortage of memory here.
    ///
    /// - Throws: ENOMEM.
    @inline(__always)
    func meetShortage(
        at operation: InjectionOperations, vm: UInt32 = 0, queue: UInt32 = 0
    ) throws(DeviceError) {
        guard device.injector.concerns(operation) else { return }
        try suffer(at: operation, vm: vm, queue: queue)
    }

    private func suffer(
        at operation: InjectionOperations, vm: UInt32, queue: UInt32
    ) throws(DeviceError) {
        let decisions = device.injector.decide(
            [.shortage], at: operation, of: self, vm: vm, queue: queue)
        guard let decision = decisions.first else { return }
        tell(decisions, at: operation, vm: vm, queue: queue)
        throw .injected(errno: ENOMEM, step: "\(operation), rule \(decision.id)")
    }

    /// Submits a bind, with one more in-fence that delays it if a rule wants that.
    ///
    /// - Throws: ENOMEM if a rule wants that, and as `submit`.
    func meetBindRules<Result>(
        in vm: DeviceVM, queue: UInt32, _ inFences: [Fence],
        _ submit: (_ inFences: [Fence]) throws(DeviceError) -> Result
    ) throws(DeviceError) -> Result {
        guard device.injector.concerns(.bind) else { return try submit(inFences) }
        try suffer(at: .bind, vm: vm.id, queue: queue)
        let decisions = device.injector.decide(
            [.delay], at: .bind, of: self, vm: vm.id, queue: queue)
        guard let decision = decisions.first else { return try submit(inFences) }
        let delay = StartDelay(decision.rule.duration)
        let result: Result
        do throws(DeviceError) {
            result = try submit(inFences + [delay.fence])
        } catch {
            device.injector.withdraw(decisions)
            throw error
        }
        delay.begin(on: device.timers)
        tell(decisions, at: .bind, vm: vm.id, queue: queue)
        return result
    }

    /// Submits a job, with what rules want of it.
    ///
    /// - Parameter commands: Where its first commands are; nil if it has none.
    /// - Throws: ENOMEM if a rule wants that, and as `submit`.
    func meetExecRules<Result>(
        of queue: DeviceQueue, commands: UInt64?,
        _ submit: (JobInjection?, _ delay: Fence?) throws(DeviceError) -> Result
    ) throws(DeviceError) -> Result {
        let injector = device.injector
        guard injector.concerns(.exec) else { return try submit(nil, nil) }
        let vm = queue.vm.id
        try suffer(at: .exec, vm: vm, queue: queue.id)
        let lost = injector.decide(
            [.deviceLost], at: .exec, of: self, vm: vm, queue: queue.id)
        if let decision = lost.first {
            let killed = device.killQueues(of: self, decision.rule.target)
            tell(lost, at: .exec, vm: vm, queue: queue.id, affected: killed)
            // The queue refuses it, as it would any later one; no other rule meets it.
            return try submit(nil, nil)
        }
        let evictions = injector.decide(
            [.eviction], at: .exec, of: self, vm: vm, queue: queue.id)
        if !evictions.isEmpty {
            let evicted = device.evictBuffers(of: self, mappedBy: queue.vm)
            tell(evictions, at: .exec, vm: vm, queue: queue.id, affected: evicted)
        }
        let decisions = injector.decide(
            [.hang, .fault, .delay], at: .exec, of: self, vm: vm, queue: queue.id,
            hasCommands: commands != nil)
        guard !decisions.isEmpty else { return try submit(nil, nil) }
        var (injection, delay) = (JobInjection(), StartDelay?.none)
        for decision in decisions {
            let rule = decision.rule
            switch rule.kind {
            case .hang: injection.hangs = true
            case .fault:
                injection.fault = JobInjection.PageFault(
                    rule: decision.id, address: rule.address ?? commands ?? 0,
                    access: rule.access)
            case .delay where rule.delaysSignal: injection.signalDelay = rule.duration
            case .delay: delay = StartDelay(rule.duration)
            case .shortage, .eviction, .deviceLost: break
            }
        }
        let result: Result
        do throws(DeviceError) {
            result = try submit(injection, delay?.fence)
        } catch {
            injector.withdraw(decisions)
            throw error
        }
        delay?.begin(on: device.timers)
        tell(decisions, at: .exec, vm: vm, queue: queue.id)
        return result
    }

    /// Records and posts what has happened.
    private func tell(
        _ decisions: [FaultInjector.Decision], at operation: InjectionOperations, vm: UInt32,
        queue: UInt32, affected: Int = 0
    ) {
        for decision in decisions {
            device.tell(
                InjectionFiring(
                    time: Runtime.now(), rule: decision.id, kind: decision.rule.kind,
                    operation: operation, ordinal: decision.ordinal, client: id,
                    clientName: name, process: process, vm: vm, queue: queue,
                    affected: UInt32(clamping: affected)))
        }
    }
}
