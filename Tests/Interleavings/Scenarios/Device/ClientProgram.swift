import Device
import TestSupport

/// What one client's thread does.
final class ClientProgram {
    private let world: DeviceWorld
    private let index: Int
    private var random: SplitMix64
    private var client: Client

    init(_ world: DeviceWorld, _ index: Int, _ random: SplitMix64) {
        self.world = world
        self.index = index
        self.random = random
        client = world.device.makeClient(
            name: "client\(index)", process: Int32(index), user: 0, isPrivileged: true)
    }

    func execute() {
        for life in 0..<2 {
            live()
            // A client may die and another one take its place.
            guard life == 0, random.chance(4) else { return }
            client = world.device.makeClient(
                name: "client\(index)", process: Int32(index), user: 0, isPrivileged: true)
        }
    }

    private func live() {
        let contexts = (0..<world.contextsPerClient).map { number in
            VMContext(
                world, client, number: index * world.contextsPerClient + number,
                random: SplitMix64(seed: random.next()))
        }
        for _ in 0..<world.rounds {
            if world.injects, random.chance(12) { inject() }
            if random.chance(40) { cancel(contexts) }
            contexts[random.below(contexts.count)].step()
        }
        // Some die in the middle of their work.
        if !random.chance(3) {
            for context in contexts { context.finish() }
        }
        client.close()
        for context in contexts { context.abandon() }
        world.run.count("clients")
    }

    /// Has all jobs of the client cancelled and its VMs made unusable.
    private func cancel(_ contexts: [VMContext]) {
        client.cancelJobs()
        for context in contexts { context.isDead = true }
        world.run.count("cancelled")
    }

    /// Makes one of the next steps of whatever request, or of whatever bind job, fail.
    private func inject() {
        world.device.failures.arm(
            after: random.below(12), errno: DeviceWorld.injectedErrno,
            asynchronous: random.chance(4))
    }
}
