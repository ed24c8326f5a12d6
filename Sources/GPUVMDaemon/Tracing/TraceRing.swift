/// The events that wait to be written, in memory that is there from the beginning: to keep one allocates
/// nothing.
///
/// Threading: none; whoever has it has a lock.
struct TraceRing: ~Copyable {
    /// An event, and how many before it had no room.
    struct Record {
        var dropped: UInt64
        var event: TraceEvent
    }

    /// The most events.
    let capacity: Int
    private(set) var count = 0
    private var first = 0
    private let records: UnsafeMutablePointer<Record>

    init(capacity: Int) {
        self.capacity = max(1, capacity)
        records = .allocate(capacity: self.capacity)
    }

    deinit {
        for index in 0..<count { (records + (first + index) % capacity).deinitialize(count: 1) }
        records.deallocate()
    }

    /// Adds an event at the end; there has to be room.
    mutating func append(_ record: consuming Record) {
        precondition(count < capacity)
        (records + (first + count) % capacity).initialize(to: record)
        count += 1
    }

    /// Takes the oldest event; there has to be one.
    mutating func removeFirst() -> Record {
        precondition(count > 0)
        let record = (records + first).move()
        first = (first + 1) % capacity
        count -= 1
        return record
    }
}
