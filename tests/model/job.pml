/* One job and all who touch it: instances that run it, sweepers, the S3 store, a user. For spin
 * (test_model.py runs it).
 *
 * A step bears the name of the function whose one visible effect it is: a transaction of the job store
 * (job/pg_statements.h), or a request that the S3 store has done. All else is local to a process. The
 * steps of all processes come in every order.
 *
 * A process may wait between any two steps while others take as many as they like. So a frozen instance, a
 * slow one, one that is cut off from Postgres or S3 need no steps of their own, and a zombie is an order
 * of steps: its lease lapses, another claims, it goes on. A crash is a step: the process begins anew, and
 * its owner id is nobody's any more.
 *
 * What is left out, and why that loses nothing:
 * - A transaction is one step: each that writes holds one lock from its first statement to its end, so one
 *   whose answer is lost was done, or was not, before the next begins. Not done changes nothing, and needs
 *   no step.
 * - The bucket is kept of one attempt only, the watched one; how the others fare with it is free. Keys are
 *   unique, so nothing of one attempt depends on the bucket of another; and any attempt may be the watched
 *   one.
 * - Parts, and the note of an upload's id: a refused part is a failure, which may come anywhere; remove()
 *   lists the uploads of a key and needs no note. Several open uploads of one key are one: they are listed
 *   and aborted together.
 * - A request that is sent again: the same bytes under the same key, or for an upload that is gone. It is
 *   one that is done once, late or never.
 * - Renewals: a lease may lapse at any time, not only when it should, and its owner goes on until another
 *   has claimed. One that is renewed in time is one that nobody claimed.
 * - Progress, events, fair tags, backoff, polls, the time that a rescuer waits: they say when a step
 *   comes; here it may come at any time.
 * - Other jobs: they have rows, attempts and keys of their own.
 *
 * What is bounded: tries, rescues, and how often each fault comes (below). One fault comes at every place,
 * two at every pair of them. After the last rescue a living owner's lease lapses no more (lease()).
 *
 * What is assumed: HOUR_IS_OVER. The hour (JOB_CLEAR_AGAIN_US) between an attempt's first and second
 * clearing stands for this: by then its writer has stopped, and no request of it is under way. And that S3
 * and Postgres keep what they have confirmed, and a listing shows what is there.
 *
 * What is not proved: that the C code does these steps; anything about times, load, and fairness between
 * jobs; expiry; the local object store and SQLite (one process, whose answers are not lost).
 *
 * Properties, each named where it is checked: P1 at most one attempt is published. P2 what a record named
 * is whole and stays, the record deleted or not. P3 `complete` is told only when the record says so. P4
 * the job ends. P5 in the end the bucket has nothing but what was published. P6 a claim takes nothing of a
 * live lease, an attempt ends once, failures keep to their bound.
 * P4 is two checks: in each last state the job is over (judge), and no order of steps goes round in a
 * circle (pan -l, with -DNP: no label here is a progress label, so any cycle counts). So every order comes
 * to a last state, without a word about fairness; but for a process that rests for ever.
 *
 * Mutants: each of these names, defined, takes one protection away, and spin has to find what breaks.
 * UNREAD_DELETE, UNFENCED, OWNER_FENCE, SHARED_KEY, ABORT_UNCLEAR, TRUST_COMPLETE, CLEAR_ONCE,
 * BLIND_REPORT, NO_READ_BACK, TRUST_COMMIT, STALE_DELETES, EARLY_RETRY, EAGER_CLAIM, UNCOUNTED,
 * UNBOUNDED_RESCUES, UNREPORTED. */

#ifndef DISPATCHERS
#define DISPATCHERS 2 /* attempts that run at a time: one an instance; a third is the first one's second */
#endif
#ifndef SWEEPERS
#define SWEEPERS 1
#endif
#ifndef MAX_ATTEMPTS
#define MAX_ATTEMPTS 2
#endif
#ifndef MAX_RESCUES
#define MAX_RESCUES 2
#endif
/* How often each of these may come. */
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef LOST_ANSWERS
#define LOST_ANSWERS 1 /* of Postgres; those of S3 are lost as often as an attempt may fail */
#endif
#ifndef HANDOVERS
#define HANDOVERS 1
#endif
#ifndef DELETES
#define DELETES 1
#endif

#if DISPATCHERS > 2 && CRASHES > 0
#error a crash ends all that its instance runs
#endif

#define PROVE(what, text) \
    if \
    :: what \
    :: else -> printf("BROKEN "); printf(text); printf("\n"); assert(false) \
    fi

/* --- the job store --- */

mtype = {PENDING, PROCESSING, COMPLETED, FAILED, DELETED};
mtype status = PENDING; /* of the record */

/* The row of downloads_queue: none; one without owner, of a boot that is no more, of an instance. */
#define NO_ROW 0
#define WAITS 1
#define DEAD 2
#define FIRST_INSTANCE 3
byte owner = WAITS;
bool live; /* its lease */

byte attempt;           /* the current one */
bool running;           /* its `state`; no other attempt is 'running' */
byte published;         /* the attempt whose `state` is 'published' */
byte failures, rescues;

/* The watched attempt's row of downloads_attempts: `state` and `cleared`; NO_ATTEMPT: not yet, or cleared away
 * for good. */
byte watched;
mtype = {NO_ATTEMPT, RUNNING, OVER, CLEARED, PUBLISHED};
mtype row = NO_ATTEMPT;

/* --- the bucket, as far as it is the watched attempt's --- */

bool upload; /* a multipart upload is open */

#define NO_OBJECT 0
#define UNREADABLE 255 /* HEAD shows it, and GET cannot read it */
byte object;           /* else the attempt whose bytes it has */

/* What is under way although its writer has given it up or is gone. */
mtype = {NOTHING, CREATE, PUT, COMPLETE};
mtype request = NOTHING;

/* --- of the processes --- */

bool writes; /* the watched attempt's writer may send more requests */
bool hurried; /* the watched attempt is due before its hour is over (EARLY_RETRY) */
bool held;   /* somebody runs the current attempt */
byte crashes = CRASHES, lost_answers = LOST_ANSWERS, handovers = HANDOVERS; /* that may still come */

mtype = {FAILURE, WORKER_LOST, HAND_OVER, REMOVED}; /* how an attempt ends that is not published */

/* --- the protections, and what mutants make of them --- */

/* END_RECORD: number and owner of the attempt, state of the record. */
#if defined UNFENCED
#define FENCE(n) (status == PROCESSING)
#elif defined OWNER_FENCE
#define FENCE(n) (status == PROCESSING && owner == me)
#else
#define FENCE(n) (status == PROCESSING && owner == me && attempt == n)
#endif

/* LAPSED of CLAIM. */
#ifdef EAGER_CLAIM
#define LAPSED (owner >= DEAD && owner != me)
#else
#define LAPSED (owner >= DEAD && !live && (owner != me || status == DELETED))
#endif

/* job_object_key(). */
#ifdef SHARED_KEY
#define SAME_KEY(m, n) (m > 0 && n > 0)
#else
#define SAME_KEY(m, n) (m == n)
#endif
#define IS_SEEN(n) SAME_KEY(watched, n) /* what it does with its object */

/* is_whole(): not by HEAD. */
#ifdef ABORT_UNCLEAR
#define IS_WHOLE(n) (object == n || object == UNREADABLE)
#else
#define IS_WHOLE(n) (object == n)
#endif

#define HOUR_IS_OVER (!writes && request == NOTHING || hurried)

/* LEFTOVERS, read afresh. */
#ifdef UNREAD_DELETE /* an owner that is late is taken for dead */
#define IS_DUE (row == OVER || row == CLEARED && HOUR_IS_OVER || row == RUNNING && !live)
#else
#define IS_DUE (row == OVER || row == CLEARED && HOUR_IS_OVER)
#endif

/* CLEANED, the second time: only by who found it cleared once. */
#ifdef BLIND_REPORT
#define FOUND_CLEARED true
#else
#define FOUND_CLEARED found_cleared
#endif

/* --- effects that several steps have --- */

/* END_ATTEMPT, and END_DEQUEUED or END_WAITS. */
inline end_attempt(n, state, queue)
{
#if !defined UNFENCED && !defined OWNER_FENCE /* which are to show what comes of it */
    PROVE(running && n == attempt, "P6: an attempt ended twice");
#endif
    running = running && n != attempt;
    row = (n == watched -> state : row);
    owner = queue;
    live = false
}

/* CLAIM and REMOVE: if the current attempt runs, it is over. */
inline current_is_over()
{
    row = (running && attempt == watched -> OVER : row);
    running = false
}

inline put_object(n)
{
    PROVE(published == n || !SAME_KEY(published, n), "P2: a published object was written over");
    object = (IS_SEEN(n) -> n : object)
}

inline delete_object(n)
{
    PROVE(!SAME_KEY(published, n), "P2: a published object was deleted");
    object = (IS_SEEN(n) -> NO_OBJECT : object)
}

/* Where an abort meets a Complete that is at work, one of them wins, or both are answered well and the object
 * is broken. */
inline abort_upload(n)
{
    if
    :: n == watched ->
        PROVE(!upload || published != n, "P2: the upload of a published object was aborted");
        if
        :: upload && request == COMPLETE -> request = NOTHING; object = UNREADABLE
        :: true
        fi;
        upload = false
    :: else
    fi
}

/* The writer hears no good answer: the request may still be done. */
inline leave(what)
{
    request = (a == watched -> what : request)
}

/* An attempt that runs fails; or is stopped by the shutdown (on_grace_over), or since it is no longer ours
 * (dispatcher_keep; dispatcher_cancel, which only is told sooner). */
inline stop()
{
    if
    :: how = FAILURE
    :: handovers > 0 -> handovers--; how = HAND_OVER
    :: !FENCE(a) -> how = REMOVED
    fi;
    printf("%d: attempt %d stops: %e\n", me, a, how)
}

inline stops_writing()
{
    writes = writes && a != watched
}

/* The instance is no more; the next boot has another id. */
inline crash()
{
    crashes--;
    owner = (owner == me -> DEAD : owner);
    printf("%d: crashes in attempt %d\n", me, a)
}

/* Two instances are alike: which of them is the first to claim makes no difference. */
#define NOT_MIRRORED (attempt > 0 || me == FIRST_INSTANCE || DISPATCHERS > 2)

/* A crash behind a commit leaves what the commit left; so before is enough. */
#define MAY_CRASH :: crashes > 0 -> crash(); goto gone
#define MAY_BE_LOST :: lost_answers > 0 -> lost_answers--; printf("%d: ... and the answer is lost\n", me)

/* --- an instance and the job: dispatcher.c, dispatcher_job.c, dispatcher_owned.c, attempt.c, s3_upload.c --- */

active [DISPATCHERS] proctype dispatcher()
{
    byte me = FIRST_INSTANCE + _pid % 2;
    byte a;       /* the attempt that it runs */
    bool unclear; /* complete_unclear: a Complete of it may still be at work */
    mtype how;    /* it ends */

end_kick:
    atomic {
        if
        :: owner == me && status == PROCESSING && !held -> /* dispatcher_keep: ours in the store alone; put_back */
            printf("%d: puts attempt %d back\n", me, attempt);
            end_attempt(attempt, OVER, WAITS);
            status = PENDING;
            goto end_kick
        :: (owner == WAITS || LAPSED) && status == DELETED -> /* CLAIM, where gopie deleted the record alone */
            current_is_over();
            owner = NO_ROW;
            live = false;
            goto end_kick
        :: (owner == WAITS || LAPSED) && status != DELETED && NOT_MIRRORED /* CLAIM */
        fi;
        PROVE(!live, "P6: a job of a live lease was claimed");
        rescues = (owner == WAITS -> rescues : rescues + 1);
        current_is_over();
        attempt++;
        PROVE(attempt <= MAX_ATTEMPTS + MAX_RESCUES + 1 + CRASHES + HANDOVERS + LOST_ANSWERS,
              "P4: more attempts than tries, rescues and faults account for");
        running = true;
        status = PROCESSING;
        owner = me;
        live = true;
        held = false;
        printf("%d: claims attempt %d\n", me, attempt);
        if
        :: watched == 0 -> watched = attempt; row = RUNNING
        :: true
        fi;
        if
        MAY_BE_LOST; goto end_kick
        :: a = attempt; held = true
        fi;
        if /* what an attempt does that is not seen comes down to how it ends */
        :: rescues > MAX_RESCUES -> how = WORKER_LOST; goto settle
        :: rescues <= MAX_RESCUES && !IS_SEEN(a) -> goto settle
        :: rescues <= MAX_RESCUES && !IS_SEEN(a) -> goto publish
        :: rescues <= MAX_RESCUES && IS_SEEN(a)
        fi;
        writes = writes || a == watched
    }

    atomic { /* attempt_start: the query runs. Then put(), or create(). */
        if
        MAY_CRASH
        :: stop(); stops_writing(); goto settle
        :: put_object(a); printf("%d: puts the object of attempt %d\n", me, a); goto looking
        :: leave(PUT); stop(); goto ending
        :: crashes > 0 -> leave(PUT); crash(); goto gone
        :: upload = upload || a == watched; printf("%d: opens the upload of attempt %d\n", me, a)
        :: leave(CREATE); stop(); goto ending
        :: crashes > 0 -> leave(CREATE); crash(); goto gone
        fi
    }

    atomic { /* send_part; then complete() */
        if
        MAY_CRASH
        :: stop(); goto ending
        :: a != watched || upload ->
            upload = upload && a != watched;
            put_object(a);
            printf("%d: completes attempt %d\n", me, a)
        :: leave(COMPLETE);
            unclear = (a == watched);
            printf("%d: attempt %d has no good answer to Complete\n", me, a);
#ifdef ABORT_UNCLEAR
            abort_upload(a);
#endif
#ifdef TRUST_COMPLETE
            stops_writing();
            goto publish
#endif
        fi
    }

looking:
    atomic { /* on_look */
        if
        :: stop()
        :: IS_WHOLE(a) -> stops_writing(); goto publish
        :: !IS_WHOLE(a) -> unclear = false; how = FAILURE; printf("%d: attempt %d has no object\n", me, a)
        fi
    }

ending:
    atomic { /* s3_upload_abort: sweep(); or nothing of it, where S3 does not answer */
        if
        MAY_CRASH
        :: printf("%d: attempt %d leaves what it did\n", me, a)
        :: !unclear -> abort_upload(a); delete_object(a); printf("%d: attempt %d takes back what it did\n", me, a)
        :: unclear -> delete_object(a); printf("%d: attempt %d takes back what it did, but for the upload\n", me, a)
        fi;
        stops_writing()
    }

settle:
    atomic { /* on_failed: FAIL or REQUEUE, told until there is an answer */
        if
        :: how == 0 -> stop() /* unseen: nothing was visible before */
        :: else
        fi;
        if
        MAY_CRASH
        :: how == REMOVED || !FENCE(a) -> printf("%d: attempt %d is dropped\n", me, a); goto gone
        :: how != REMOVED && FENCE(a)
        fi;
        if
        :: how == HAND_OVER -> status = PENDING
        :: how == WORKER_LOST ->
#ifdef UNBOUNDED_RESCUES
            status = PENDING
#else
            status = FAILED
#endif
        :: how == FAILURE ->
#ifndef UNCOUNTED
            failures++;
#endif
            PROVE(failures <= MAX_ATTEMPTS, "P6: more failures than may be");
            if
            :: failures < MAX_ATTEMPTS -> status = PENDING
            :: status = FAILED /* the last, or one that does not pass by trying again */
            fi
        fi;
        end_attempt(a, OVER, (status == PENDING -> WAITS : NO_ROW));
        printf("%d: attempt %d ends: %e, %e\n", me, a, how, status);
        if
        MAY_BE_LOST; goto settle
        :: goto gone
        fi
    }

publish:
    atomic { /* on_succeeded: PUBLISH, told until there is an answer; CURRENT where it changes nothing */
        if
        MAY_CRASH
        :: FENCE(a) ->
            PROVE(published == 0, "P1: two attempts were published");
            PROVE(!IS_SEEN(a) || object == a, "P2: what was published is not whole");
            end_attempt(a, PUBLISHED, NO_ROW);
            published = a;
            status = COMPLETED;
            printf("%d: publishes attempt %d\n", me, a);
            if
            MAY_BE_LOST;
#ifdef NO_READ_BACK
                how = FAILURE;
                goto ending
#else
                goto publish
#endif
            :: true
            fi
#ifdef TRUST_COMMIT
        :: FENCE(a) && lost_answers > 0 -> lost_answers--; printf("%d: the commit of attempt %d is not done\n", me, a)
#endif
        :: !FENCE(a) && status == COMPLETED && attempt == a && owner != me
        :: !FENCE(a) && !(status == COMPLETED && attempt == a && owner != me) ->
            printf("%d: attempt %d is no longer the job's: its result is dropped\n", me, a);
#ifdef STALE_DELETES
            delete_object(a);
#endif
            goto gone
        fi;
        PROVE(published == a, "P3: complete was told, and no record says so")
    }

gone:
    atomic {
        stops_writing();
        held = held && a != attempt;
        a = 0;
        unclear = false;
        how = 0;
        goto end_kick
    }
}

/* --- sweeper.c, s3_sweep.c --- */

/* One sweeper alone need not rest there: what is due stays so until it reports, and none but it reads what it
 * reports. */
#if SWEEPERS > 1
#define THEN } atomic {
#else
#define THEN
#endif

active [SWEEPERS] proctype sweeper()
{
    bool found_cleared;

end_look:
    atomic { /* call_look */
        IS_DUE -> found_cleared = (row == CLEARED);
    THEN
        /* s3_remove: first the uploads of the key */
        printf("sweeper %d: aborts the upload of attempt %d\n", _pid, watched);
        abort_upload(watched)
    }
    atomic { /* then the object */
        printf("sweeper %d: deletes the object of attempt %d\n", _pid, watched);
        delete_object(watched);
    THEN
        /* call_report: CLEANED. Where it fails, or the sweeper is no more, it is due again. */
        if
        :: lost_answers > 0 -> lost_answers--; printf("sweeper %d: does not report\n", _pid)
#ifdef EARLY_RETRY
            ; hurried = (row == CLEARED)
#endif
#ifndef UNREPORTED
        :: row == OVER -> printf("sweeper %d: has cleared attempt %d away once\n", _pid, watched);
#ifdef CLEAR_ONCE
            row = NO_ATTEMPT
#else
            row = CLEARED
#endif
        :: row == CLEARED && HOUR_IS_OVER && FOUND_CLEARED ->
            printf("sweeper %d: has cleared attempt %d away\n", _pid, watched);
            row = NO_ATTEMPT
#endif
        :: else
        fi;
        found_cleared = false;
        goto end_look
    }
}

/* --- the S3 store, with a request whose writer does not wait for it --- */

active proctype s3()
{
end_late:
    atomic {
        request != NOTHING;
        if
        :: request == CREATE -> upload = true
        :: request == PUT -> put_object(watched)
        :: request == COMPLETE && upload -> upload = false; put_object(watched)
        :: printf("S3: not done:\n")
        fi;
        printf("S3: a late %e of attempt %d\n", request, watched);
        request = NOTHING;
        goto end_late
    }
}

/* --- time --- */

/* A lease lapses. After the last rescue only that of an owner that is no more, or else a job could change hands
 * for ever. */
active proctype lease()
{
end_lapse:
    atomic {
        live && (owner == DEAD || status == DELETED || rescues <= MAX_RESCUES) ->
        live = false;
        printf("the lease of %d lapses\n", owner);
        goto end_lapse
    }
}

/* --- a user, who deletes the record, or not --- */

active proctype user()
{
    atomic {
        if
        :: true
        :: DELETES > 0 -> /* REMOVE */
            current_is_over();
            status = DELETED;
            owner = NO_ROW;
            live = false;
            printf("the record is deleted\n")
        :: DELETES > 0 -> status = DELETED; printf("gopie deletes the record alone\n")
        fi
    }
}

/* --- the last state: nothing moves any more --- */

active proctype judge()
{
    atomic {
        timeout;
        PROVE(owner == NO_ROW && status != PENDING && status != PROCESSING, "P4: the job does not end");
        PROVE(!upload && request == NOTHING, "P5: an upload is left open");
        PROVE(row == PUBLISHED || row == NO_ATTEMPT && object == NO_OBJECT, "P5: an object is left that nobody names")
    }
}
