import Device
import Fencing
import Logging

/// Puts a daemon's configuration, its device and its sessions together.
public enum DeviceSessions {
    /// Makes the device that a configuration describes, and what serves its clients.
    ///
    /// - Throws: `DeviceError` or `FencingError` when the host refuses memory, threads or
    ///   asynchronous I/O.
    public static func make(_ services: DaemonServices) throws -> any ConnectionHandler {
        try make(services, observers: DRMObservers())
    }

    /// As ``make(_:)``, with somebody who watches the open files of the DRM shim.
    public static func make(
        _ services: DaemonServices, observers: DRMObservers
    ) throws -> any ConnectionHandler {
        let logger = services.logger
        let files = DRMFileList()
        var configuration = deviceConfiguration(services.configuration)
        configuration.reportsJobs = observers.trace != nil
        let device = try Device(configuration) { event in
            if case .fault(let report) = event { files.note(report) }
            observers.trace?.note(event)
            log(event, to: logger)
        }
        return SessionServer(
            device: device, name: "gpuvmd \(DaemonVersion.string)", logger: logger,
            reactor: services.reactor, eventFDs: try EventFDSignaller(),
            model: services.configuration.device.model.nouveau, files: files,
            observers: observers, policy: SessionPolicy(services.configuration))
    }

    /// The device's share of a daemon's configuration.
    static func deviceConfiguration(_ daemon: DaemonConfiguration) -> DeviceConfiguration {
        var device = DeviceConfiguration()
        device.name = daemon.device.name
        device.vramBytes = daemon.device.vram
        device.visibleVRAMBytes = daemon.device.visibleVRAM
        device.systemBytes = daemon.device.systemMemory
        device.pageTableBytes = daemon.device.pageTableMemory
        device.copyEngines = daemon.device.copyEngines
        device.bindWorkers = daemon.device.bindWorkers
        device.tlbEntries = daemon.device.tlbEntries
        device.jobTimeout = daemon.device.jobTimeout
        device.hazards = daemon.device.hazards
        device.faultLogEntries = daemon.faultLog.entries
        device.quotas.bufferBytes = daemon.quotas.boBytes
        device.quotas.buffers = daemon.quotas.bos
        device.quotas.vms = daemon.quotas.vms
        device.quotas.queues = daemon.quotas.queues
        device.quotas.syncobjs = daemon.quotas.syncobjs
        device.quotas.mappings = daemon.quotas.mappings
        device.quotas.jobsInFlight = daemon.quotas.jobsInFlight
        device.quotas.operationsInFlight = daemon.quotas.bindOperationsInFlight
        device.quotas.tablePages = Int(daemon.quotas.pageTableBytes >> 12)
        device.quotas.descriptors = daemon.quotas.fenceDescriptors
        return device
    }

    private static func log(_ event: DeviceEvent, to logger: Logger) {
        switch event {
        case .fault(let report):
            logger.log(
                level: report.isFatal ? .error : .warning, "\(report.title): \(report)",
                metadata: [
                    "client": "\(report.client)", "vm": "\(report.vm)", "queue": "\(report.queue)",
                ])
        case .jobTimedOut(let client, let vm, let queue):
            logger.error(
                "a job exceeded its time-out; its queue is banned",
                metadata: ["client": "\(client)", "vm": "\(vm)", "queue": "\(queue)"])
        case .jobEnded: break
        case .injected(let firing):
            // What a client causes is limited: so is what it is made to suffer.
            var metadata: Logger.Metadata = ["rule": "\(firing.rule)"]
            if firing.client != 0 {
                metadata["client"] =
                    "\(firing.client) (\(firing.clientName), pid \(firing.process))"
            }
            if firing.vm != 0 { metadata["vm"] = "\(firing.vm)" }
            if firing.queue != 0 { metadata["queue"] = "\(firing.queue)" }
            logger.notice("\(firing)", metadata: metadata)
        case .vmBanned(let client, let vm, let errno):
            logger.error(
                "an asynchronous bind failed; the VM is banned",
                metadata: ["client": "\(client)", "vm": "\(vm)", "errno": "\(errno)"])
        }
    }
}
