/// An intrusive FIFO list of queues: linking and unlinking are O(1) and allocate nothing.
///
/// Threading: guarded by the engine's lock. A queue is on one list at most.
struct QueueList {
    private(set) var first: JobQueue?
    private(set) unowned(unsafe) var last: JobQueue?
    private(set) var count = 0

    mutating func append(_ queue: JobQueue) {
        queue.nextQueue = nil
        queue.previousQueue = last
        if let last { last.nextQueue = queue } else { first = queue }
        last = queue
        count += 1
    }

    mutating func remove(_ queue: JobQueue) {
        if let next = queue.nextQueue {
            next.previousQueue = queue.previousQueue
        } else {
            last = queue.previousQueue
        }
        if let previous = queue.previousQueue {
            previous.nextQueue = queue.nextQueue
        } else {
            first = queue.nextQueue
        }
        queue.nextQueue = nil
        queue.previousQueue = nil
        count -= 1
    }
}
