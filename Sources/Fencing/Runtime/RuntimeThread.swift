import CPlatform
import Glibc

/// A thread started through the ``Runtime`` seam.
///
/// Threading: ``join()`` exactly once, from any thread but the thread itself; a thread that is
/// never joined leaks its stack until the process ends.
public struct RuntimeThread: Sendable {
    private enum Handle: Sendable {
        case system(pthread_t)
        case scheduled(UInt64)
    }

    private let handle: Handle

    private final class Start: Sendable {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Starts a thread that runs `body`; nil when the system refuses another thread (EAGAIN).
    ///
    /// - Parameters:
    ///   - name: Shown by debuggers; the kernel keeps 15 bytes.
    ///   - stackBytes: A multiple of the page size, at least 64 KiB.
    public static func start(
        name: String, stackBytes: Int = 512 << 10, _ body: @escaping @Sendable () -> Void
    ) -> RuntimeThread? {
        if let scheduler = Runtime.scheduler {
            return RuntimeThread(handle: .scheduled(scheduler.start(name: name, body: body)))
        }
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, stackBytes)
        let start = Unmanaged.passRetained(Start(name: name, body: body))
        var thread = pthread_t()
        let error = pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument else { return nil }
                // Balances the retain of the creator.
                let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                gpuvm_set_thread_name(start.name)
                start.body()
                return nil
            }, start.toOpaque())
        guard error == 0 else {
            start.release()
            return nil
        }
        return RuntimeThread(handle: .system(thread))
    }

    /// Returns when the thread has ended.
    public func join() {
        switch handle {
        case .system(let thread): pthread_join(thread, nil)
        case .scheduled(let token): Runtime.scheduler?.join(token)
        }
    }

    /// Lets the thread end on its own; ``join()`` must not be called afterwards.
    public func detach() {
        if case .system(let thread) = handle { pthread_detach(thread) }
    }
}
