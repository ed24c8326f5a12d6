import Fencing
import Glibc
import Synchronization
import TestSupport
import Testing
import WireProtocol

@testable import GPUVMDaemon

@Suite struct SocketLockTests {
    @Test func oneOwnerAtATime() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        #expect(try SocketLock.owner(ofSocket: path) == .none)
        do {
            let lock = try SocketLock(socketPath: path)
            #expect(try SocketLock.owner(ofSocket: path) == .living(pid: getpid()))
            #expect(throws: SocketError.ownedByLivingDaemon(path: path, pid: getpid())) {
                _ = try SocketLock(socketPath: path)
            }
            #expect(lock.path == "\(path).lock")
        }
        #expect(directory.entries == [])
        #expect(try SocketLock.owner(ofSocket: path) == .none)
        let again = try SocketLock(socketPath: path)
        #expect(again.path == "\(path).lock")
    }

    @Test func aLockFileThatWasLeftBehindIsFree() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        _ = try directory.write("s.lock", "123456789012\n")
        #expect(try SocketLock.owner(ofSocket: path) == .none)
        let lock = try SocketLock(socketPath: path)
        #expect(try contents(of: lock.path) == "\(getpid())\n")
    }

    @Test func aLinkIsNotFollowed() throws {
        let directory = try TemporaryDirectory()
        let victim = try directory.write("victim", "precious")
        symlink(victim, "\(directory.path)/s.lock")
        #expect(throws: SocketError.self) { _ = try SocketLock(socketPath: "\(directory.path)/s") }
        #expect(try contents(of: victim) == "precious")
    }

    /// Owners that come and go unlink the file under each other's feet; probes hold it shared.
    @Test func neverTwoOwners() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        let race = Race()
        var threads: [RuntimeThread] = []
        for index in 0..<4 {
            let thread = RuntimeThread.start(name: "lock-race") {
                for _ in 0..<300 {
                    if index == 3 {
                        race.probe(path)
                    } else {
                        race.own(path)
                    }
                }
            }
            threads.append(try #require(thread))
        }
        for thread in threads { thread.join() }
        #expect(race.violations.load(ordering: .relaxed) == 0)
        #expect(race.owned.load(ordering: .relaxed) > 0)
        #expect(directory.entries == [])
    }

    private final class Race: Sendable {
        let owners = Atomic<Int>(0)
        let owned = Atomic<Int>(0)
        let violations = Atomic<Int>(0)

        func own(_ path: String) {
            do throws(SocketError) {
                let lock = try SocketLock(socketPath: path)
                if owners.add(1, ordering: .acquiringAndReleasing).newValue != 1 { violate() }
                owned.add(1, ordering: .relaxed)
                sched_yield()
                owners.subtract(1, ordering: .acquiringAndReleasing)
                _ = consume lock
            } catch {
                guard case .ownedByLivingDaemon = error else { return violate() }
            }
        }

        func probe(_ path: String) {
            do throws(SocketError) {
                _ = try SocketLock.owner(ofSocket: path)
            } catch {
                violate()
            }
        }

        private func violate() { violations.add(1, ordering: .relaxed) }
    }

    // MARK: the socket

    private func bind(
        _ path: String, mode: UInt32 = 0o600, group: String? = nil
    ) throws {
        let lock = try SocketLock(socketPath: path)
        let listener = try ListeningSocket.bind(path: path, mode: mode, group: group, lock: lock)
        var status = stat()
        #expect(lstat(path, &status) == 0)
        #expect(status.st_mode & S_IFMT == S_IFSOCK)
        #expect(status.st_mode & 0o777 == mode)
        let client = try UnixSocket.connect(path: path)
        #expect(becomesReadable(listener.socket.rawValue))
        client.shutdown()
    }

    @Test func theSocketComesWithItsModeAndGoesWithItsOwner() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        try bind(path, mode: 0o666)
        #expect(directory.entries == [])
        try bind(path, mode: 0o640, group: "\(getegid())")
        #expect(throws: SocketError.unknownGroup("no-such-group")) {
            try bind(path, group: "no-such-group")
        }
        #expect(directory.entries == [])
    }

    @Test func aStaleSocketMakesWay() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        // A socket whose file outlives it, as after SIGKILL.
        _ = try UnixSocket.listen(path: path)
        #expect(directory.entries == ["s"])
        try bind(path)
        #expect(directory.entries == [])
    }

    @Test func whatIsNoSocketIsLeftAlone() throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write("file", "precious")
        #expect(throws: SocketError.notASocket(path: file)) { try bind(file) }
        #expect(try contents(of: file) == "precious")
        let link = "\(directory.path)/link"
        symlink("/nowhere", link)
        #expect(throws: SocketError.notASocket(path: link)) { try bind(link) }
        #expect(directory.entries == ["file", "link"])
    }

    @Test func aNameThatIsAnothersStays() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        do {
            let lock = try SocketLock(socketPath: path)
            let listener = try ListeningSocket.bind(
                path: path, mode: 0o600, group: nil, lock: lock)
            unlink(path)
            _ = try directory.write("s", "another's")
            #expect(listener.path == path)
        }
        #expect(directory.entries == ["s"])
    }

    @Test func pathsAreFoundInOrder() {
        let environment = ["GPUVM_SOCKET": "/g", "XDG_RUNTIME_DIR": "/x"]
        func resolve(_ option: String?, _ configured: String?, _ environment: [String: String])
            -> String
        {
            SocketLocation.resolve(
                option: option, configured: configured, environment: environment)
        }
        #expect(resolve("/o", "/c", environment) == "/o")
        #expect(resolve(nil, "/c", environment) == "/g")
        #expect(resolve(nil, "/c", ["XDG_RUNTIME_DIR": "/x"]) == "/c")
        #expect(resolve(nil, nil, ["XDG_RUNTIME_DIR": "/x"]) == "/x/gpuvmd/gpuvmd.sock")
        #expect(
            resolve(nil, nil, ["GPUVM_SOCKET": "", "XDG_RUNTIME_DIR": ""])
                == "/run/gpuvmd/gpuvmd.sock")
    }
}
