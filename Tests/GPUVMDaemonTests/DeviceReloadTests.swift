import Device
import Engines
import Fencing
import Testing
import WireProtocol

@testable import GPUVMDaemon

/// What a reload changes in a device that is in use.
@Suite struct DeviceReloadTests {
    private func admit(_ server: SessionServer, _ name: String) -> Client {
        server.device.makeClient(name: name, process: 1, user: 1, isPrivileged: false)
    }

    private func makeVMs(_ client: Client, _ count: Int) -> Int {
        var made = 0
        for _ in 0..<count {
            do throws(DeviceError) {
                _ = try client.createVM(name: "vm", start: 0, range: 1 << 30)
                made += 1
            } catch {}
        }
        return made
    }

    @Test func quotasAreForNewClientsAndTheRestIsForAll() throws {
        var configuration = DaemonConfiguration()
        configuration.device.vram = 16 << 20
        configuration.device.systemMemory = 16 << 20
        configuration.device.pageTableMemory = 1 << 20
        configuration.quotas.vms = 3
        let reactor = try Reactor()
        try reactor.start()
        let handler = try DeviceSessions.make(
            DaemonServices(
                configuration: configuration, logger: try CapturedLog().logger(),
                reactor: reactor))
        let server = try #require(handler as? SessionServer)
        let old = admit(server, "old")
        #expect(server.device.jobTimeout == 5_000_000_000)
        #expect(server.nouveau.engines.allSatisfy { $0.hazards == .report })

        configuration.quotas.vms = 1
        configuration.device.jobTimeout = 2_000_000_000
        configuration.device.hazards = .fail
        server.reconfigure(configuration)
        let new = admit(server, "new")
        #expect(makeVMs(old, 4) == 3)
        #expect(makeVMs(new, 4) == 1)
        #expect(server.device.jobTimeout == 2_000_000_000)
        #expect(server.nouveau.engines.allSatisfy { $0.hazards == .fail })

        old.close()
        new.close()
        server.shutdown(graceful: false)
        reactor.stop()
    }
}
