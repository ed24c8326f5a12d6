import SystemPackage

/// Why a daemon does not start.
public enum DaemonError: Error, Sendable, CustomStringConvertible {
    /// It has been started before.
    case alreadyStarted
    /// Its socket cannot be had.
    case socket(SocketError)
    /// The system refused a thread or a descriptor.
    case resources(Errno)
    /// The device behind it does not start.
    case device(any Error)

    /// What is wrong.
    public var description: String {
        switch self {
        case .alreadyStarted: "the daemon has been started before"
        case .socket(let error): error.description
        case .resources(let errno): "the system refused what the daemon needs: \(errno)"
        case .device(let error): "the device does not start: \(error)"
        }
    }

    /// What the process ends with.
    var exitStatus: ExitStatus {
        switch self {
        case .alreadyStarted: .software
        case .socket(.ownedByLivingDaemon): .temporaryFailure
        case .socket(.notASocket), .socket(.pathTooLong): .cannotCreate
        case .socket(.unknownGroup): .configuration
        case .socket(.badActivation), .socket(.system), .resources: .systemError
        case .device: .unavailable
        }
    }
}
