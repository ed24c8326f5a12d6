import PageTables

/// A bind operation that was carried out, as fault reports quote it.
public struct OperationRecord: Sendable, Equatable {
    /// What was asked for.
    public var kind: BindOperation.Kind
    /// First byte's GPU virtual address.
    public var address: UInt64
    /// Bytes.
    public var range: UInt64
    /// When it was submitted, CLOCK_MONOTONIC ns.
    public var time: UInt64
}

/// The last operations of a VM; behind the VM's lock.
struct OperationHistory {
    /// A power of two.
    private static let capacity = 512
    private var records: [OperationRecord] = []
    private var next = 0

    /// Takes note of a request at `time`, and of what its operations on whole buffers unmapped.
    mutating func append(_ steps: [BindStep], unmappedByBuffer: [VirtualRange], time: UInt64) {
        // Of a long array the last ones push out the others.
        for step in steps.suffix(Self.capacity) where step.kind != .unmapAll {
            append(
                OperationRecord(
                    kind: step.kind, address: step.address, range: step.range, time: time))
        }
        for range in unmappedByBuffer {
            append(
                OperationRecord(
                    kind: .unmapAll, address: range.address, range: range.bytes, time: time))
        }
    }

    private mutating func append(_ record: OperationRecord) {
        if records.count < Self.capacity {
            records.append(record)
        } else {
            records[next] = record
            next = (next + 1) & (Self.capacity - 1)
        }
    }

    /// The latest operation whose range contains `address`; O(capacity).
    func last(touching address: UInt64) -> OperationRecord? {
        let newestFirst = (0..<records.count).lazy.map { offset in
            records[(next + records.count - 1 - offset) % records.count]
        }
        return newestFirst.first { address >= $0.address && address - $0.address < $0.range }
    }
}
