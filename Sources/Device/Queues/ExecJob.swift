import Engines
import Fencing
import Glibc
import PageTables
import Scheduling
import Synchronization

// @unchecked: after submission only the engine's thread that has the queue touches the fields.
/// A job of an exec queue: commands for a copy engine, in the language of the native protocol or of a
/// personality, executed quantum by quantum.
///
/// It keeps the VM, whose page table is the only way to memory, until it ends; and nothing else: what
/// a client unmaps while the job flies, the job faults on, as on hardware.
final class ExecJob<Context: EngineContext>: JobBody, @unchecked Sendable {
    /// Nil once the job has been released.
    private var queue: DeviceQueue?
    private let context: Context
    private let usage: ClientUsage
    /// Where its first commands are.
    private let commands: UInt64
    /// What is to happen to it on purpose.
    private var injection: JobInjection?
    /// What it has entered into the log, ``faultCount`` of them; the rest is in the log alone.
    private var faultIDs = SIMD8<UInt64>()
    private var faultCount = 0
    private var timedOut = false
    private var times = JobSpan()

    init(
        queue: DeviceQueue, context: Context, usage: ClientUsage, commands: UInt64,
        injection: JobInjection?
    ) {
        self.queue = queue
        self.context = context
        self.usage = usage
        self.commands = commands
        self.injection = injection
        usage.jobsInFlight.add(1, ordering: .relaxed)
    }

    /// Gives everything back: the job was never armed.
    func discard() {
        usage.jobsInFlight.subtract(1, ordering: .relaxed)
        queue = nil
    }

    func run(_ slice: inout JobSlice) -> JobOutcome {
        if queue?.vm.device.configuration.reportsJobs == true { times.begin() }
        if injection != nil, let outcome = meetInjection() { return outcome }
        let outcome = context.run(EngineQuantum(), shouldStop: { slice.isOver })
        if context.wroteSemaphore {
            context.clearSemaphoreWrites()
            slice.noteSemaphoreWrite()
        }
        if let hazard = context.takeHazard() { note(hazard, isFatal: false) }
        switch outcome {
        case .done: return endsLate() ?? .done
        case .yield: return .yield
        case .blocked: return .blocked(recheckAfter: 0)
        case .failed(let failure) where failure.fault?.reason == .spaceClosed:
            // The VM was closed or banned under the job: its queues are being stopped.
            return .failed(errno: ECANCELED)
        case .failed(let failure):
            queue?.vm.device.counters.faults.add(1, ordering: .relaxed)
            note(failure, isFatal: true)
            return .failed(errno: failure.errno)
        }
    }

    /// What happens on purpose in the place of the job's commands, if something does.
    private func meetInjection() -> JobOutcome? {
        guard let injection, let queue else { return nil }
        // The engine's time goes to others meanwhile, the job's own to its time-out.
        if injection.hangs { return .blocked(recheckAfter: JobInjection.recheck) }
        // The commands have ended.
        if injection.signalsAt != 0 { return endsLate() ?? .done }
        guard let fault = injection.fault, let engine = queue.engine else { return nil }
        let failure = EngineFailure.injected(
            Fault(
                space: queue.vm.addressSpace.id, address: fault.address, access: fault.access,
                reason: .notMapped(level: 0)),
            engine: engine.commands.name, commands: commands)
        queue.vm.device.counters.faults.add(1, ordering: .relaxed)
        note(failure, isFatal: true, rule: fault.rule)
        return .failed(errno: failure.errno)
    }

    /// How a job goes on whose commands have ended and whose fence is not to signal yet.
    private func endsLate() -> JobOutcome? {
        guard let delay = injection?.signalDelay, delay != 0 else { return nil }
        let now = Runtime.now()
        guard let end = injection?.signalsAt, end != 0 else {
            injection?.signalsAt = Runtime.deadline(after: delay)
            return .blocked(recheckAfter: delay)
        }
        return now >= end ? nil : .blocked(recheckAfter: end - now)
    }

    /// Enters a fault before the fence signals, so that who sees the fence finds the fault.
    private func note(_ failure: EngineFailure, isFatal: Bool, rule: UInt32 = 0) {
        guard let queue else { return }
        let device = queue.vm.device
        var report = FaultReport(
            time: Runtime.now(), client: queue.client, vm: queue.vm.id, queue: queue.id,
            engine: queue.engineInstance, failure: failure, isFatal: isFatal)
        report.injection = rule
        let id = device.faults.enter(report, in: queue.vm)
        guard faultCount < faultIDs.scalarCount else { return }
        faultIDs[faultCount] = id
        faultCount += 1
    }

    func reset(error: Int32) {
        // A failure of its own has been noted; the rest of the resets are time-outs and stops.
        timedOut = context.failure == nil && error == ETIME
    }

    func completed(error: Int32) {
        // Before the fence: who sees it finds its quota free and the job counted.
        usage.jobsInFlight.subtract(1, ordering: .relaxed)
        guard let device = queue?.vm.device else { return }
        if device.configuration.reportsJobs { times.end() }
        device.counters.execJobs.add(1, ordering: .relaxed)
        if error != 0 { device.counters.failedJobs.add(1, ordering: .relaxed) }
    }

    func released(error: Int32) {
        if let queue {
            let device = queue.vm.device
            for index in 0..<faultCount { device.events.postFault(faultIDs[index]) }
            if timedOut {
                device.events.post(
                    .jobTimedOut(client: queue.client, vm: queue.vm.id, queue: queue.id))
            }
            if device.configuration.reportsJobs {
                device.events.post(
                    .jobEnded(
                        JobReport(
                            kind: .exec, client: queue.client, vm: queue.vm.id, queue: queue.id,
                            began: times.began, ended: times.ended, error: error)))
            }
        }
        queue = nil
    }
}
