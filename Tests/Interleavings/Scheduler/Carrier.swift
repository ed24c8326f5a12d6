import Fencing
import Glibc

// @unchecked: the semaphore lives behind a pointer that never changes.
/// An operating system thread that carries one scheduled thread after another.
///
/// It sleeps on its semaphore unless it has the baton. It never ends: a thread that ends while
/// another runs would be a second one at work.
final class Carrier: @unchecked Sendable {
    private let semaphore: UnsafeMutablePointer<sem_t>

    /// The carrier of the calling thread.
    init() {
        semaphore = .allocate(capacity: 1)
        semaphore.initialize(to: sem_t())
        sem_init(semaphore, 0, 0)
    }

    /// Starts a thread that calls `work` each time it is given the baton.
    ///
    /// - Returns: False if the system refuses a thread.
    func start(_ work: @escaping @Sendable () -> Void) -> Bool {
        final class Start: Sendable {
            let carrier: Carrier
            let work: @Sendable () -> Void
            init(_ carrier: Carrier, _ work: @escaping @Sendable () -> Void) {
                self.carrier = carrier
                self.work = work
            }
        }
        let start = Unmanaged.passRetained(Start(self, work))
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setstacksize(&attributes, 512 << 10)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        var thread = pthread_t()
        let error = pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument else { return nil }
                let start = Unmanaged<Start>.fromOpaque(argument).takeUnretainedValue()
                while true {
                    start.carrier.sleep()
                    start.work()
                }
            }, start.toOpaque())
        pthread_attr_destroy(&attributes)
        return error == 0
    }

    /// Gives this carrier the baton.
    func wake() { sem_post(semaphore) }

    /// Sleeps until it is given the baton.
    func sleep() { while sem_wait(semaphore) != 0 {} }
}
