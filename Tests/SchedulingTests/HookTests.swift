import Fencing
import Glibc
import Scheduling
import Synchronization
import Testing

/// What the body is told, and when: before and after its fence.
@Suite struct HookTests {
    @Test func theFenceFollowsTheWork() throws {
        try withEngine { engine in
            let early = Counter()
            let late = Counter()
            // Not through the log: the fence itself is asked at each step.
            let box = JobBox()
            let body = ScriptedBody { _, run in
                if box.isSignalled { early.value.add(1, ordering: .relaxed) }
                return run == 3 ? .done : .yield
            } onCompleted: { _ in
                if box.isSignalled { early.value.add(1, ordering: .relaxed) }
            } onReleased: { _ in
                if !box.isSignalled { late.value.add(1, ordering: .relaxed) }
            }
            let queue = JobQueue(engine, name: "q")
            let work = Job(body: body)
            let fence = try queue.arm(work)
            box.set(fence)
            queue.push(work)
            #expect(fence.wait(deadline: soon()))
            #expect(queue.waitUntilIdle(deadline: soon()))
            #expect(early.value.load(ordering: .relaxed) == 0)
            #expect(late.value.load(ordering: .relaxed) == 0)
            #expect(body.completions.load(ordering: .relaxed) == 1)
            #expect(body.releases.load(ordering: .relaxed) == 1)
            #expect(body.resets.load(ordering: .relaxed) == 0)
        }
    }

    @Test func hooksRunOnceForCancelledJobsToo() throws {
        try withEngine { engine in
            let never = FenceContext().makeFence()
            let queue = JobQueue(engine, name: "q")
            let bodies = (0..<5).map { _ in ScriptedBody() }
            var fences: [Fence] = []
            for body in bodies {
                let job = Job(body: body)
                job.addDependency(never)
                fences.append(try queue.submit(job))
            }
            queue.kill()
            #expect(queue.waitUntilIdle(deadline: soon()))
            for (body, fence) in zip(bodies, fences) {
                #expect(fence.isSignalled)
                #expect(fence.error == ECANCELED)
                #expect(body.runs.load(ordering: .relaxed) == 0)
                #expect(body.resets.load(ordering: .relaxed) == 0)
                #expect(body.completions.load(ordering: .relaxed) == 1)
                #expect(body.error.load(ordering: .relaxed) == ECANCELED)
                #expect(body.releases.load(ordering: .relaxed) == 1)
            }
            // Its callbacks are gone.
            never.signal()
            #expect(queue.status.pendingJobs == 0)
        }
    }

    @Test func aLongQueueIsCancelledInOrder() throws {
        try withEngine { engine in
            let never = FenceContext().makeFence()
            let released = Counter()
            let queue = JobQueue(engine, name: "q")
            var fences: [Fence] = []
            for index in 0..<20_000 {
                let body = ScriptedBody(onReleased: { _ in
                    // In their order, and one by one.
                    if released.value.add(1, ordering: .relaxed).oldValue != index {
                        released.value.store(-1_000_000, ordering: .relaxed)
                    }
                })
                let job = Job(body: body)
                if index == 0 { job.addDependency(never) }
                fences.append(try queue.submit(job))
            }
            queue.close()
            #expect(queue.waitUntilIdle(deadline: soon()))
            #expect(fences.allSatisfy { $0.isSignalled && $0.error == ECANCELED })
            #expect(released.value.load(ordering: .relaxed) == 20_000)
        }
    }

    @Test func bodiesAreGivenBack() throws {
        weak var weakJob: Job?
        weak var weakQueue: JobQueue?
        weak var weakBody: ScriptedBody?
        try withEngine { engine in
            let never = FenceContext().makeFence()
            do {
                let queue = JobQueue(engine, name: "q")
                let body = ScriptedBody()
                let job = Job(body: body)
                job.addDependency(never)
                (weakJob, weakQueue, weakBody) = (job, queue, body)
                try queue.submit(job)
                let unused = Job(body: body)
                unused.addDependency(never)
            }
            #expect(weakJob != nil, "a submitted job keeps itself and its queue")
            weakQueue?.close()
            #expect(weakQueue?.waitUntilIdle(deadline: soon()) != false)
        }
        #expect(weakJob == nil)
        #expect(weakQueue == nil)
        #expect(weakBody == nil)
    }
}

/// A fence that is known only after the job was made.
final class JobBox: Sendable {
    private let fence = Guarded<Fence?>(.leaf, nil)
    func set(_ fence: Fence) { self.fence.withLock { $0 = fence } }
    var isSignalled: Bool { fence.withLock { $0 }?.isSignalled ?? false }
}
