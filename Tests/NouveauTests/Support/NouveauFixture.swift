import Device
import Fencing
import GPUVMDaemon

/// A small device as nouveau presents it.
final class NouveauFixture: @unchecked Sendable {
    // @unchecked: all are immutable and synchronise themselves.
    let device: Device
    let shared: NouveauDevice
    private let reactor: Reactor

    init(
        model: NouveauModel = .tu104, configure: (inout DeviceConfiguration) -> Void = { _ in }
    ) throws {
        var configuration = DeviceConfiguration()
        configuration.vramBytes = 64 << 20
        configuration.systemBytes = 64 << 20
        configuration.pageTableBytes = 16 << 20
        configuration.tlbEntries = 1 << 14
        configuration.jobTimeout = 2_000_000_000
        configure(&configuration)
        device = try Device(configuration)
        reactor = try Reactor()
        try reactor.start()
        shared = NouveauDevice(
            device, model: model, fenceFiles: ReactorFenceMonitor.registry(on: reactor),
            eventFDs: try EventFDSignaller(), jobTimeout: configuration.jobTimeout)
    }

    deinit {
        for client in device.clients { client.close() }
        device.shutdown(deadline: Runtime.deadline(after: 1_000_000_000))
        reactor.stop()
    }

    func open() -> TestFile { TestFile(shared) }
}
