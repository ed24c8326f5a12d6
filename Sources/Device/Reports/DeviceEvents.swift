import Fencing

/// The one stream of events out of a device, on a thread of its own.
///
/// An engine that meets a fault only leaves a note: what lies around the address, and the ban of a
/// VM, take the VM's lock, which engines never do.
///
/// Threading: any thread may post, outside of signalling sections. The sink is called with no lock
/// held, one event at a time, in the order of posting.
public final class DeviceEvents: Sendable {
    private enum Note {
        case event(DeviceEvent)
        case fault(UInt64)
        case failedVM(DeviceVM)
    }

    private struct State {
        var notes: [Note] = []
        var isStopping = false
        var thread: RuntimeThread?
    }

    private let sink: @Sendable (DeviceEvent) -> Void
    private let faults: FaultLog
    private let state = Guarded(.leaf, State())
    private let posted = Condition()

    /// Prepares a stream; nothing comes out before ``start()``.
    init(faults: FaultLog, sink: @escaping @Sendable (DeviceEvent) -> Void) {
        self.faults = faults
        self.sink = sink
    }

    /// Starts the thread, once.
    ///
    /// - Returns: False when the system refuses another thread.
    func start() -> Bool {
        guard let thread = RuntimeThread.start(name: "gpuvm-report", { [self] in run() }) else {
            return false
        }
        state.withLock { $0.thread = thread }
        return true
    }

    /// Delivers what was posted and ends the thread; later events are delivered by who posts them.
    func stop() {
        let thread = state.withLock { state in
            state.isStopping = true
            defer { state.thread = nil }
            return state.thread
        }
        posted.signal()
        thread?.join()
    }

    func post(_ event: DeviceEvent) { post(.event(event)) }

    /// A fault that is in the log: its surroundings are looked up before it is told.
    func postFault(_ id: UInt64) { post(.fault(id)) }

    /// A VM of which a bind job failed: it is banned before that is told.
    func postBan(of vm: DeviceVM) { post(.failedVM(vm)) }

    private func post(_ note: Note) {
        SignallingSection.assertOutside("an event")
        let isStopping = state.withLock { state in
            if !state.isStopping { state.notes.append(note) }
            return state.isStopping
        }
        if isStopping { deliver(note) } else { posted.signal() }
    }

    private func run() {
        while true {
            let notes = state.wait(on: posted) { state -> [Note]? in
                guard !state.notes.isEmpty || state.isStopping else { return nil }
                defer { state.notes = [] }
                return state.notes
            }
            guard let notes, !notes.isEmpty else { return }
            for note in notes { deliver(note) }
        }
    }

    private func deliver(_ note: Note) {
        switch note {
        case .event(let event): sink(event)
        case .fault(let id): if let report = faults.complete(id) { sink(.fault(report)) }
        case .failedVM(let vm): sink(vm.ban())
        }
    }
}
