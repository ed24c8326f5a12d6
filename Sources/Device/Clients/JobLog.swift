import Fencing
import Scheduling

/// The last jobs of a client, so that it can ask when a fence's job ran; behind the client's lock.
struct JobLog {
    struct Entry {
        var fence: Fence
        var job: Job
        var engineClass: DeviceQueue.EngineClass
        var queue: UInt32
    }

    private static let capacity = 2048
    private var entries: [Entry] = []
    private var next = 0

    mutating func append(_ entry: Entry) {
        if entries.count < Self.capacity {
            entries.append(entry)
        } else {
            entries[next] = entry
            next = (next + 1) % Self.capacity
        }
    }

    func find(context: UInt64, sequence: UInt64) -> Entry? {
        entries.last { $0.fence.context == context && $0.fence.sequenceNumber == sequence }
    }
}
