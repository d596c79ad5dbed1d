/* One job and all who touch it: instances that run it, sweepers, the S3 store, the user. For spin.
 *
 * What it stands for. Each step bears the name of the function whose one visible effect it is: a transaction of the job store
 * (src/job/pg_statements.h), or a request that the S3 store has done. All else is local to a process and cannot be seen by
 * another. The steps of all processes come in every order that there is.
 *
 * A process may stop between any two steps for as long as it likes. So a frozen instance, a slow one and one that is cut off
 * need no steps of their own: they are an order of steps in which others go first, lapse() among them. A crash is a step: the
 * process goes on at the beginning, and its owner id is nobody's any more.
 *
 * What is left out, and why nothing is lost by it:
 * - A transaction is one step, done or not done: every one that writes holds one lock from its first statement to its end, so
 *   one whose answer is lost has been decided before the next begins. That it was not done changes nothing, and is not a step.
 * - The parts of an upload, and the note of its id: parts of an upload that was aborted are refused, which is a failure, and a
 *   failure may come at any step; remove() lists the uploads of a key, so it needs no noted id. Several uploads that are
 *   open for one key are one: they are listed and aborted together.
 * - Requests that are sent again: the same bytes for the same key, or for an upload that is gone; so they are one request
 *   that is done at some time, or never.
 * - Progress, versions, events, fair tags, backoff, the time that a rescuer waits, one look of a poll after the other: they decide
 *   when a step comes, and here it may come at any time. A lease may lapse at any time, not only when it should.
 * - Other jobs: each has keys, rows and attempts of its own; what they share, the lock, makes their steps one after the other.
 * - MAX_ATTEMPTS, MAX_RESCUES, and how often each fault comes, are small. A fault that comes once comes at every place.
 *
 * The hour (JOB_CLEAR_AGAIN_US) between the first and the second clearing of an attempt stands for one thing: until then the
 * attempt's only writer has stopped, and no request of it is under way in the network or in the S3 store. That is
 * assumed here, not proved: HOUR_IS_OVER.
 *
 * What it does not prove: that the C code does what the steps say; anything about times, throughput and fairness between jobs; that the S3
 * store keeps what it has confirmed, or that Postgres keeps what it has committed; the local object store and the
 * SQLite job store, which have one process and no lost answers; the expiry of links.
 *
 * The properties (PROVE says which one is broken):
 * P1 one published attempt at most. P2 what a record named is whole, and stays. P3 `complete` is told only when the record says so.
 * P4 the job ends. P5 nothing is left in the bucket but what was published. P6 a claim takes nothing of a live lease, each attempt
 * ends once, and failures and rescues keep to their bounds.
 * P4 is two checks: in a last state the job is over (judge), and there is no cycle (pan -l, compiled with -DNP; no label here
 * is a progress label). So every order of steps leads to a last state, without any assumption of fairness between processes.
 *
 * Mutants: each of these names, where defined, takes one protection away, and spin has to find what breaks:
 * UNREAD_DELETE, UNFENCED, SHARED_KEY, ABORT_UNCLEAR, TRUST_COMPLETE, CLEAR_ONCE, NO_READ_BACK, TRUST_COMMIT, STALE_DELETES,
 * EAGER_CLAIM, OWNER_FENCE, BLIND_REPORT, NO_BOUND. */

#ifndef DISPATCHERS
#define DISPATCHERS 2 /* jobs that may run at a time; the third is the first instance's second */
#endif
#ifndef SWEEPERS
#define SWEEPERS 1
#endif
#ifndef MAX_ATTEMPTS
#define MAX_ATTEMPTS 2
#endif
#ifndef MAX_RESCUES
#define MAX_RESCUES 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef LOST
#define LOST 1 /* answers */
#endif
#ifndef LAPSES
#define LAPSES 2 /* of leases whose owner lives */
#endif
#ifndef HANDOVERS
#define HANDOVERS 1
#endif
#ifndef DELETES
#define DELETES 1
#endif

/* Attempts are numbered from 1. More of them than there can be. */
#define ROOM 8

#define PROVE(what, text) \
    if \
    :: what \
    :: else -> printf("BROKEN "); printf(text); printf("\n"); assert(false) \
    fi

/* --- the job store --- */

mtype = {PENDING, PROCESSING, COMPLETED, FAILED, DELETED};
mtype status = PENDING; /* of the record */

/* The row of downloads_queue: none, one without owner, one of a boot that is no more, one of an instance. */
#define NO_ROW 0
#define WAITS 1
#define DEAD 2
#define FIRST_INSTANCE 3
byte owner = WAITS;
bool live; /* the lease */

byte attempt;   /* the current one */
byte failures, rescues;

/* downloads_attempts: `state` and `cleared`. A row that is taken away after the second clearing is NO_ATTEMPT again. */
mtype = {NO_ATTEMPT, RUNNING, OVER, CLEARED, PUBLISHED};
mtype row[ROOM] = NO_ATTEMPT;

/* --- the S3 store, by attempt --- */

bool upload[ROOM]; /* a multipart upload is open */
#define NO_OBJECT 0
#define UNREADABLE 255
byte object[ROOM]; /* by key: the attempt whose bytes it has; UNREADABLE: HEAD shows it, and GET cannot read it */

/* A request that is at work. Somebody waits for COMPLETE; the others have been given up, and may be done or not. */
mtype = {NOTHING, COMPLETE, LATE_CREATE, LATE_PUT, LATE_COMPLETE};
mtype request[ROOM] = NOTHING;

#ifdef SHARED_KEY
#define KEY(a) 1
#else
#define KEY(a) (a)
#endif

/* --- what is known of the processes, for the sake of the rules --- */

mtype = {FAILURE, WORKER_LOST, HAND_OVER, REMOVED}; /* how an attempt ends that is not published */

mtype = {IDLE, WRITES, SETTLES};
mtype at_work[ROOM] = IDLE; /* who runs that attempt: nobody; one who may still write; one who only tells its end */

#define HOUR_IS_OVER(a) (at_work[a] != WRITES && request[a] == NOTHING)

byte crashes = CRASHES, lost = LOST, lapses = LAPSES, handovers = HANDOVERS; /* that may still come */

/* --- protections (and what mutants make of them), and steps that several take --- */

/* $1 to $3 of END_RECORD: the attempt's number and owner, and the record's state. */
#ifdef UNFENCED
#define FENCE(a) (status == PROCESSING)
#elif defined(OWNER_FENCE)
#define FENCE(a) (status == PROCESSING && owner == me)
#else
#define FENCE(a) (status == PROCESSING && owner == me && attempt == a)
#endif

/* LAPSED of CLAIM. */
#ifdef EAGER_CLAIM
#define LAPSED (owner >= DEAD && owner != me)
#else
#define LAPSED (owner >= DEAD && !live && (owner != me || status == DELETED))
#endif

#ifdef ABORT_UNCLEAR /* and a HEAD, which shows an object that cannot be read */
#define LOOKS_WHOLE(a) (object[KEY(a)] == a || object[KEY(a)] == UNREADABLE)
#else
#define LOOKS_WHOLE(a) (object[KEY(a)] == a)
#endif

#ifdef BLIND_REPORT
#define FIRST_TIME false
#else
#define FIRST_TIME first
#endif

#define PUBLISHED_KEY(n, k) (row[n] == PUBLISHED && KEY(n) == (k))
#define IS_PUBLISHED(k) \
    (PUBLISHED_KEY(1, k) || PUBLISHED_KEY(2, k) || PUBLISHED_KEY(3, k) || PUBLISHED_KEY(4, k) || \
     PUBLISHED_KEY(5, k) || PUBLISHED_KEY(6, k) || PUBLISHED_KEY(7, k))
#define ANY_PUBLISHED \
    (row[1] == PUBLISHED || row[2] == PUBLISHED || row[3] == PUBLISHED || row[4] == PUBLISHED || \
     row[5] == PUBLISHED || row[6] == PUBLISHED || row[7] == PUBLISHED)

/* END_ATTEMPT, and the row of the queue: END_DEQUEUED or END_WAITS. */
inline end_attempt(n, to, queue)
{
    PROVE(row[n] == RUNNING, "P6: an attempt ended twice");
    row[n] = to;
    owner = queue;
    live = false
}

/* CLAIM and REMOVE: the attempt that ran, if one did, is over. */
inline current_is_over()
{
    if
    :: row[attempt] == RUNNING -> row[attempt] = OVER
    :: else
    fi
}

inline put_object(n)
{
    PROVE(!IS_PUBLISHED(KEY(n)) || row[n] == PUBLISHED, "P2: a published object was written over");
    object[KEY(n)] = n
}

/* Where an abort meets a Complete that is at work, one of them wins, or both are answered well and the object is broken. */
inline abort_upload(n)
{
    PROVE(!upload[n] || row[n] != PUBLISHED, "P2: the upload of a published object was aborted");
    if
    :: upload[n] && (request[n] == COMPLETE || request[n] == LATE_COMPLETE) ->
        request[n] = NOTHING;
        object[KEY(n)] = UNREADABLE
    :: true
    fi;
    upload[n] = false
}

inline delete_object(n)
{
    PROVE(!IS_PUBLISHED(KEY(n)), "P2: a published object was deleted");
    object[KEY(n)] = NO_OBJECT
}

/* The instance is no more; another boot of it has another id. What it asked of the S3 store may still be done. */
inline crash(still)
{
    crashes--;
    request[a] = still;
    printf("instance %d: crashes in attempt %d\n", me, a);
    if
    :: owner == me -> owner = DEAD
    :: else
    fi
}

/* The writer gives its request up, which the S3 store may still do. */
inline give_up(late, why)
{
    request[a] = late;
    how = why;
    printf("instance %d: gives up attempt %d: %e, %e\n", me, a, how, late)
}

/* What may come while an attempt runs: the shutdown (on_grace_over); the job is no longer ours (dispatcher_keep; or
 * dispatcher_cancel, which is told sooner). `late`: what of it is under way. */
#define MAY_BE_STOPPED(late) \
    :: handovers > 0 -> handovers--; give_up(late, HAND_OVER); goto ending \
    :: !FENCE(a) -> give_up(late, REMOVED); goto ending
#define MAY_CRASH(late) :: crashes > 0 -> crash(late); goto gone
/* An answer that does not come, however often it is asked for. */
#define MAY_BE_LOST :: lost > 0 -> lost--;

/* --- an instance, and what it does with the job (dispatcher_job.c, dispatcher_owned.c, s3_upload.c) --- */

active [DISPATCHERS] proctype dispatcher()
{
    byte me = FIRST_INSTANCE + _pid % 2;
    byte a;       /* the attempt that runs here */
    bool unclear; /* complete_unclear: a Complete of it may still be at work */
    mtype how;    /* it ends */

gone:
    atomic {
        at_work[a] = IDLE;
        a = 0;
        unclear = false;
        how = 0
    }

end_kick:
    atomic {
        if
        :: owner == me && status == PROCESSING && at_work[attempt] == IDLE -> /* dispatcher_keep: put_back */
            printf("instance %d: puts attempt %d back\n", me, attempt);
            end_attempt(attempt, OVER, WAITS);
            status = PENDING;
            goto end_kick
        :: owner == WAITS || LAPSED -> /* CLAIM */
            if
            :: status == DELETED -> /* by gopie: the record alone */
                current_is_over();
                owner = NO_ROW;
                live = false;
                goto end_kick
            :: else
            fi
        fi;
        PROVE(!live, "P6: a job of a live lease was claimed");
        if
        :: owner == WAITS
        :: else -> current_is_over(); rescues++
        fi;
        PROVE(attempt < ROOM - 1, "P4: more attempts than the faults account for");
        attempt++;
        row[attempt] = RUNNING;
        status = PROCESSING;
        owner = me;
        live = true;
        printf("instance %d: claims attempt %d\n", me, attempt);
        if
        MAY_BE_LOST printf("... and does not hear of it\n"); goto end_kick
        :: a = attempt; at_work[a] = WRITES
        fi;
        if
        :: rescues > MAX_RESCUES -> how = WORKER_LOST; at_work[a] = SETTLES; goto settle
        :: else
        fi
    }

    atomic { /* attempt_start: the query runs; then begin_upload: put() or create() */
        if
        MAY_BE_STOPPED(NOTHING)
        MAY_CRASH(NOTHING)
        :: how = FAILURE; goto ending
        :: goto putting
        :: upload[a] = true
        MAY_BE_LOST give_up(LATE_CREATE, FAILURE); goto ending
        MAY_CRASH(LATE_CREATE)
        fi
    }

    atomic { /* send_part until all are there; then complete() */
        if
        MAY_BE_STOPPED(NOTHING)
        MAY_CRASH(NOTHING)
        :: how = FAILURE; goto ending
        :: request[a] = COMPLETE
        fi
    }
    atomic { /* on_completed */
        if
        MAY_BE_STOPPED(LATE_COMPLETE)
        MAY_CRASH(LATE_COMPLETE)
        :: request[a] == COMPLETE ->
            if
            :: upload[a] -> upload[a] = false; put_object(a)
            :: else -> unclear = true /* NoSuchUpload */
            fi;
            request[a] = NOTHING
        :: request[a] == NOTHING /* an abort met it: both were answered well */
        MAY_BE_LOST
            unclear = true;
            request[a] = LATE_COMPLETE;
            printf("instance %d: has no answer to the Complete of attempt %d\n", me, a);
#ifdef ABORT_UNCLEAR
            abort_upload(a);
#endif
#ifdef TRUST_COMPLETE
            at_work[a] = SETTLES;
            goto publish
#endif
        fi
    }
    goto looking;

putting:
    atomic { /* on_put */
        if
        MAY_BE_STOPPED(LATE_PUT)
        MAY_CRASH(LATE_PUT)
        :: put_object(a)
        MAY_BE_LOST give_up(LATE_PUT, FAILURE); goto ending
        fi
    }

looking:
    atomic { /* on_look: the last byte, by a Range request */
        if
        MAY_BE_STOPPED(request[a])
        MAY_CRASH(request[a])
        :: how = FAILURE; goto ending /* no answer */
        :: LOOKS_WHOLE(a) -> at_work[a] = SETTLES; goto publish
        :: !LOOKS_WHOLE(a) -> unclear = false; how = FAILURE
        fi
    }

ending:
    atomic { /* s3_upload_abort: sweep(), as far as it gets */
        if
        MAY_CRASH(request[a])
        :: !unclear -> abort_upload(a)
        :: true
        fi
    }
    atomic {
        if
        MAY_CRASH(request[a])
        :: delete_object(a)
        :: true
        fi;
        at_work[a] = SETTLES
    }

settle:
    atomic { /* on_failed: FAIL or REQUEUE, told until there is an answer */
        if
        MAY_CRASH(request[a])
        :: how == REMOVED || !FENCE(a) -> printf("instance %d: attempt %d is no longer the job's\n", me, a)
        :: how != REMOVED && FENCE(a) ->
            if
            :: how == HAND_OVER -> status = PENDING
            :: how == WORKER_LOST -> status = FAILED
            :: how == FAILURE ->
#ifndef UNCOUNTED
                failures++;
#endif
                PROVE(failures <= MAX_ATTEMPTS, "P6: more failures than may be");
                if
                :: failures < MAX_ATTEMPTS -> status = PENDING
                :: status = FAILED /* it was the last, or one that no repetition mends */
                fi
            fi;
            end_attempt(a, OVER, (status == PENDING -> WAITS : NO_ROW));
            printf("instance %d: ends attempt %d: %e, %e\n", me, a, how, status);
            if
            MAY_BE_LOST printf("... and does not hear of it\n"); goto settle
            MAY_CRASH(request[a])
            :: true
            fi
        fi
    }
    goto gone;

publish:
    atomic { /* on_succeeded: PUBLISH, told until there is an answer; where it changes nothing, CURRENT */
        if
        MAY_CRASH(request[a])
        :: FENCE(a) ->
            PROVE(!ANY_PUBLISHED, "P1: two attempts were published");
            PROVE(object[KEY(a)] == a, "P2: what was published is not whole");
            status = COMPLETED;
            end_attempt(a, PUBLISHED, NO_ROW);
            printf("instance %d: publishes attempt %d\n", me, a);
            if
            MAY_BE_LOST
                printf("... and does not hear of it\n");
#ifdef NO_READ_BACK
                how = FAILURE;
                goto ending
#else
                goto publish
#endif
            MAY_CRASH(request[a])
            :: true
            fi
#ifdef TRUST_COMMIT
        :: FENCE(a) && lost > 0 -> lost--; printf("instance %d: the commit of attempt %d is lost\n", me, a)
#endif
        :: !FENCE(a) ->
            if
            :: status == COMPLETED && attempt == a && owner != me
            :: else ->
                printf("instance %d: attempt %d is no longer the job's: its result is dropped\n", me, a);
#ifdef STALE_DELETES
                delete_object(a);
#endif
                goto gone
            fi
        fi;
        PROVE(row[a] == PUBLISHED, "P3: complete was told and no record says so")
    }
    goto gone
}

/* --- sweeper.c --- */

/* LEFTOVERS, read afresh. */
#ifdef UNREAD_DELETE /* whose owner is late, is dead */
#define DUE(n) (row[n] == OVER || row[n] == CLEARED && HOUR_IS_OVER(n) || row[n] == RUNNING && !live)
#else
#define DUE(n) (row[n] == OVER || row[n] == CLEARED && HOUR_IS_OVER(n))
#endif

active [SWEEPERS] proctype sweeper()
{
    byte n;     /* the attempt that is cleared away */
    bool first; /* it had not been yet when it was read */

end_look:
    atomic { /* call_look */
        if
        :: DUE(1) -> n = 1
        :: DUE(2) -> n = 2
        :: DUE(3) -> n = 3
        :: DUE(4) -> n = 4
        :: DUE(5) -> n = 5
        :: DUE(6) -> n = 6
        :: DUE(7) -> n = 7
        fi;
        first = (row[n] != CLEARED)
    }
    atomic { /* s3_remove: first the uploads of the key, then the object */
        printf("sweeper %d: aborts the upload of attempt %d\n", _pid, n);
        abort_upload(n)
    }
    atomic {
        printf("sweeper %d: deletes the object of attempt %d\n", _pid, n);
        delete_object(n)
    }
    atomic { /* call_report: CLEANED. Where it fails, or the sweeper is gone by then, it is due again. */
        if
        MAY_BE_LOST printf("sweeper %d: fails\n", _pid)
#ifdef CLEAR_ONCE
        :: row[n] == OVER -> row[n] = NO_ATTEMPT
#else
        :: row[n] == OVER -> row[n] = CLEARED; printf("sweeper %d: has cleared attempt %d once\n", _pid, n)
#endif
        :: row[n] == CLEARED && HOUR_IS_OVER(n) && !FIRST_TIME ->
            row[n] = NO_ATTEMPT;
            printf("sweeper %d: forgets attempt %d\n", _pid, n)
        :: else
        fi;
        n = 0;
        first = false
    }
    goto end_look
}

/* --- the S3 store, with a request whose answer nobody waits for --- */

#define LATE(n) (request[n] != NOTHING && request[n] != COMPLETE)

active proctype s3()
{
    byte n;

end_late:
    atomic {
        if
        :: LATE(1) -> n = 1
        :: LATE(2) -> n = 2
        :: LATE(3) -> n = 3
        :: LATE(4) -> n = 4
        :: LATE(5) -> n = 5
        :: LATE(6) -> n = 6
        :: LATE(7) -> n = 7
        fi;
        if
        :: request[n] == LATE_CREATE -> upload[n] = true
        :: request[n] == LATE_PUT -> put_object(n)
        :: request[n] == LATE_COMPLETE && upload[n] -> upload[n] = false; put_object(n)
        :: printf("S3: never does a request\n")
        fi;
        printf("S3: %e of attempt %d is over\n", request[n], n);
        request[n] = NOTHING;
        n = 0
    }
    goto end_late
}

/* --- time --- */

active proctype lease()
{
end_lapse:
    atomic {
        if
        :: live && (owner == DEAD || status == DELETED) -> live = false
        :: live && owner != DEAD && lapses > 0 -> lapses--; live = false; printf("the lease of %d lapses\n", owner)
        /* POLL: nobody took it meanwhile. */
        :: !live && owner > DEAD && status == PROCESSING -> live = true; printf("%d renews its lease\n", owner)
        fi
    }
    goto end_lapse
}

/* --- a user --- */

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
            printf("the user deletes the record\n")
        :: DELETES > 0 -> status = DELETED; printf("gopie deletes the record\n")
        fi
    }
}

/* --- the last state: nothing can move any more --- */

#define CLEAN(n) (!upload[n] && request[n] == NOTHING && (row[n] == PUBLISHED || row[n] == NO_ATTEMPT && object[n] == NO_OBJECT))

active proctype judge()
{
    timeout;
    atomic {
        PROVE(owner == NO_ROW && (status == COMPLETED || status == FAILED || status == DELETED), "P4: the job does not end");
        PROVE(CLEAN(1) && CLEAN(2) && CLEAN(3) && CLEAN(4) && CLEAN(5) && CLEAN(6) && CLEAN(7),
              "P5: an attempt left something behind")
    }
}
