import CWireProtocol
import Testing

@testable import gpuvmctl

/// Rules of fault injection as people write them.
@Suite("Injection rules")
struct InjectionTextTests {
    private func problem(_ text: String) -> String {
        do throws(InjectionText.Problem) {
            _ = try InjectionText.parse(text)
            return "accepted"
        } catch {
            return error.text
        }
    }

    @Test("A kind alone is a rule that meets the first request, once")
    func kinds() throws {
        let numbers: [(String, UInt32)] = [
            ("hang", 1), ("fault", 2), ("oom", 3), ("eviction", 4), ("device-lost", 6),
        ]
        for (name, number) in numbers {
            let rule = try InjectionText.parse(name)
            #expect(rule.kind == number)
            #expect(rule.count == 1 && rule.after == 0 && rule.every == 1)
            #expect(rule.probability == 1_000_000 && rule.seed == 0 && rule.flags == 0)
            #expect(rule.access == (name == "fault" ? 2 : 0))
            #expect(rule.operations == 0 && rule.target_client == 0 && rule.reserved == 0)
        }
    }

    @Test("Every key is its field")
    func keys() throws {
        let oom = try InjectionText.parse(
            "oom:op=gem-new+mmap,after=3,count=2,client=5,pid=6,name=vulkaninfo")
        #expect(oom.kind == 3 && oom.operations == 0x81)
        #expect(oom.after == 3 && oom.count == 2 && oom.every == 1)
        #expect(oom.target_client == 5 && oom.target_pid == 6)
        #expect(Names.text(oom.target_name) == "vulkaninfo")
        let all = try InjectionText.parse(
            "oom:op=gem-new+gem-import+vm-init+vm-bind+channel-alloc+exec+syncobj-create+mmap")
        #expect(all.operations == 0xff)
        let drawn = try InjectionText.parse("hang:probability=0.025,seed=0xff,vm=7,queue=8")
        #expect(drawn.probability == 25_000 && drawn.seed == 255)
        #expect(drawn.target_vm == 7 && drawn.target_queue == 8)
        #expect(drawn.count == 0, "who says how often of many does not mean the first one")
        #expect(try InjectionText.parse("hang:every=3").count == 0)
        #expect(try InjectionText.parse("hang:every=3,count=1").count == 1)
        #expect(try InjectionText.parse("hang:count=unlimited").count == 0)
        let fault = try InjectionText.parse("fault:address=0x1000,access=write")
        #expect(fault.flags == 4 && fault.address == 4096 && fault.access == 1)
        #expect(try InjectionText.parse("fault:address=0").flags == 4)
        let late = try InjectionText.parse("delay:duration=20ms,at=signal")
        #expect(late.kind == 5 && late.flags == 2 && late.duration_ns == 20_000_000)
        #expect(try InjectionText.parse("delay:duration=10min,at=start,op=vm-bind").flags == 0)
        #expect(try InjectionText.parse("eviction:now").flags == 1)
        #expect(try InjectionText.parse("device-lost:now,pid=4").target_pid == 4)
    }

    @Test(
        "Durations and chances",
        arguments: [
            ("1ns", UInt64(1)), ("7us", 7000), ("3s", 3_000_000_000), ("10min", 600_000_000_000),
        ])
    func durations(_ text: String, _ nanoseconds: UInt64) throws {
        #expect(try InjectionText.parse("delay:duration=\(text)").duration_ns == nanoseconds)
    }

    @Test(
        "Chances have six decimals at most",
        arguments: [
            ("1", UInt32(1_000_000)), ("1.0", 1_000_000), ("0.5", 500_000), ("0.000001", 1),
            ("0.123456", 123_456), ("00.25", 250_000),
        ])
    func chances(_ text: String, _ millionths: UInt32) throws {
        #expect(try InjectionText.parse("oom:probability=\(text)").probability == millionths)
    }

    @Test("What is wrong is said, with where it is and what there is")
    func wrong() {
        #expect(
            problem("ooom") == """
                “ooom”: no kind is called “ooom”: there are hang, fault, oom, eviction, delay, \
                device-lost
                """)
        #expect(problem("").contains("no kind is called “”"))
        #expect(problem("oom:").contains("no key is called “”"))
        #expect(
            problem("oom:operation=x").contains("no key is called “operation”: there are count,"))
        #expect(
            problem("oom:op=gem-knew").contains("op=gem-knew is no request: there are gem-new,"))
        #expect(problem("oom:op=gem-new+").contains("op= is no request"))
        #expect(problem("oom:count").contains("count needs a value, as in count=…"))
        #expect(problem("oom:count=").contains("count needs a value"))
        #expect(problem("oom:count=0").contains("count=0 is no whole number from 1 on"))
        #expect(problem("oom:count=-1").contains("count=-1 is no whole number"))
        #expect(problem("oom:count=+1").contains("count=+1 is no whole number"))
        #expect(problem("oom:count=1,count=1").contains("count is there twice"))
        #expect(problem("oom:every=0").contains("every=0 is no whole number from 1 on"))
        #expect(problem("oom:after=18446744073709551616").contains("is no whole number"))
        #expect(problem("oom:client=0").contains("client=0 is no whole number 1…4294967295"))
        #expect(problem("oom:pid=2147483648").contains("1…2147483647"))
        for text in ["0", "0.0", "1.000001", "2", ".5", "1.", "-1", "0.1234567", "x", "1e-3"] {
            #expect(
                problem("oom:probability=\(text)").contains("above 0 and up to 1"), "\(text)")
        }
        #expect(problem("oom:seed=1").contains("a seed without a probability draws nothing"))
        for text in ["20", "ms", "0ms", "11min", "1h", "1.5s", "-1s"] {
            #expect(
                problem("delay:duration=\(text)").contains("a whole number with a unit"), "\(text)")
        }
        #expect(problem("delay").contains("a delay needs a duration, as in delay:duration=20ms"))
        #expect(problem("delay:duration=1s,op=mmap").contains("can be delayed is exec and vm-bind"))
        #expect(problem("delay:duration=1s,at=end").contains("at the start or the signal"))
        #expect(problem("oom:duration=1s").contains("duration belongs to delay, not to oom"))
        #expect(problem("hang:op=exec").contains("op belongs to oom and delay, not to hang"))
        #expect(problem("oom:address=1").contains("address belongs to fault, not to oom"))
        #expect(problem("hang:now").contains("now belongs to eviction and device-lost"))
        #expect(problem("eviction:now=1").contains("now takes no value"))
        #expect(problem("eviction:now,after=1").contains("after counts requests"))
        #expect(problem("fault:access=execute").contains("there are read, write and fetch"))
        let name = String(repeating: "n", count: 33)
        #expect(problem("oom:name=\(name)").contains("at most 32 bytes"))
    }

    @Test(
        "What is shown can be written again",
        arguments: [
            "hang:count=1", "oom:op=gem-new+mmap,after=3,count=2,client=5",
            "delay:op=exec,duration=1500us,at=signal,every=2,count=unlimited,pid=4",
            "fault:address=0x1000,access=read,probability=0.25,seed=9,count=unlimited,vm=1,queue=2",
            "eviction:now,name=vulkaninfo", "device-lost:after=7,count=1",
        ])
    func round(_ text: String) throws {
        #expect(InjectionReport.text(try InjectionText.parse(text)) == text)
    }
}
