import CInterleavings
import Fencing

/// The record of one interleaving: a hash of all points, and the last of them.
///
/// Whether somebody watches makes no difference: printing allocates nothing.
final class SchedulingTrace {
    private static let capacity = 40
    private var ring: [SchedulingEvent] = []
    private var next = 0
    private let isVerbose: Bool
    /// FNV-1a over the events' digests, with the high bits brought down.
    private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325

    init(isVerbose: Bool) {
        self.isVerbose = isVerbose
        ring.reserveCapacity(Self.capacity)
    }

    func append(_ event: SchedulingEvent, threadName: @autoclosure () -> String) {
        hash = (hash ^ event.digest) &* 0x100_0000_01b3
        hash ^= hash >> 29
        if ring.count < Self.capacity {
            ring.append(event)
        } else {
            ring[next] = event
            next = (next + 1) % Self.capacity
        }
        if isVerbose { Self.print(event, threadName()) }
    }

    private static func print(_ event: SchedulingEvent, _ threadName: String) {
        threadName.withCString { name in
            event.kind.name.withUTF8Buffer { kind in
                guard let kind = kind.baseAddress else { return }
                il_print_point(
                    event.clock, UInt32(event.thread), name,
                    UnsafeRawPointer(kind).assumingMemoryBound(to: CChar.self),
                    event.lockClass.map {
                        UnsafeRawPointer($0.name.utf8Start).assumingMemoryBound(to: CChar.self)
                    }, UInt64(event.address))
            }
        }
    }

    /// The last events, oldest first.
    func recent(threadName: (Int) -> String) -> [String] {
        (0..<ring.count).map { index in
            let event = ring[(next + index) % ring.count]
            var line = "  \(event.clock) \(event.thread) \(threadName(event.thread)) \(event.kind)"
            if let lockClass = event.lockClass { line += " \(lockClass.name)" }
            if event.address != 0 { line += " #\(il_number_of(UInt64(event.address)))" }
            return line
        }
    }
}
