import Scheduling

extension Client {
    /// Forgets an exec queue, whose jobs go on until it is closed or they have ended.
    func forgetQueue(_ handle: UInt32) {
        guard let queue = state.withLock({ $0.queues.remove(handle) }) else { return }
        queue.vm.retire(queue.jobs)
    }
}
