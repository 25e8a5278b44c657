//! The routes of users.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use contracts::user::{
    ChangePassword, ListUsers, Login, RefreshToken, ServiceSignIn, SetRole, SignUp, UpdateUser, User,
};
use contracts::{Code, Page, UserId};
use kernel::auth::{Admin, Caller, Person, SignedIn};
use kernel::http::{
    Command, Created, Failure, IfMatch, Json, Origin, Paging, Path, Query, Versioned, Write, serve_with,
};

use crate::{KEY_SET_CACHED_SECONDS, Users};

impl Users {
    /// Its part of the API.
    pub fn router(&self) -> Router {
        let routes = Router::new()
            .route("/api/users", get(list).post(sign_up))
            .route("/api/users/me", get(me))
            .route("/api/users/{id}", get(read).put(update).patch(update).delete(erase))
            .route("/api/users/{id}/role", put(set_role))
            .route("/api/users/{id}/password", post(change_password))
            .route("/api/login", post(log_in))
            .route("/api/logout", post(log_out))
            .route("/api/token/refresh", post(refresh))
            .route("/.well-known/jwks.json", get(key_set));
        let routes = match self.config.service_secret {
            Some(_) => routes.route("/api/token/service", post(sign_in_service)),
            None => routes,
        };
        let routes = routes.with_state(self.clone());
        serve_with(
            routes.merge(kernel::http::operations(&self.consumers)),
            self.kit.clone(),
        )
    }
}

async fn sign_up(State(users): State<Users>, mut request: Write<SignUp>) -> Result<Created<User>, Failure> {
    let email = request.body.email.canonical();
    request.claim_by_email(&email);
    let user = users.sign_up(request.body, request.context).await?;
    Ok(Created {
        location: format!("/api/users/{}", user.id),
        version: user.version,
        body: user,
    })
}

async fn list(
    State(users): State<Users>,
    _: Admin,
    Query(filter): Query<ListUsers>,
) -> Result<Json<Page<User>>, Failure> {
    let paging = Paging::new(filter.limit, filter.cursor.as_ref())?;
    Ok(Json(users.users(&filter, &paging).await?))
}

async fn me(
    State(users): State<Users>,
    Person(caller): Person,
    Origin(context): Origin,
) -> Result<Versioned<User>, Failure> {
    let user = users.user(caller.id, Caller::User(caller), &context).await?;
    Ok(Versioned {
        version: user.version,
        body: user,
    })
}

async fn read(
    State(users): State<Users>,
    SignedIn(caller): SignedIn,
    Path(id): Path<UserId>,
    Origin(context): Origin,
) -> Result<Versioned<User>, Failure> {
    let user = users.user(id, caller, &context).await?;
    Ok(Versioned {
        version: user.version,
        body: user,
    })
}

async fn update(
    State(users): State<Users>,
    Person(caller): Person,
    Path(id): Path<UserId>,
    if_match: IfMatch,
    request: Write<UpdateUser>,
) -> Result<Versioned<User>, Failure> {
    let user = users
        .update(id, request.body, if_match, caller, request.context)
        .await?;
    Ok(Versioned {
        version: user.version,
        body: user,
    })
}

async fn set_role(
    State(users): State<Users>,
    Admin(caller): Admin,
    Path(id): Path<UserId>,
    if_match: IfMatch,
    request: Write<SetRole>,
) -> Result<Versioned<User>, Failure> {
    let user = users
        .set_role(id, request.body, if_match, caller, request.context)
        .await?;
    Ok(Versioned {
        version: user.version,
        body: user,
    })
}

async fn change_password(
    State(users): State<Users>,
    Person(caller): Person,
    Path(id): Path<UserId>,
    request: Write<ChangePassword>,
) -> Result<StatusCode, Failure> {
    users.change_password(id, request.body, caller, request.context).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn erase(
    State(users): State<Users>,
    Person(caller): Person,
    Path(id): Path<UserId>,
    if_match: IfMatch,
    command: Command,
) -> Result<StatusCode, Failure> {
    users.erase(id, if_match, caller, command.context).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn log_in(
    State(users): State<Users>,
    Origin(context): Origin,
    Json(request): Json<Login>,
) -> Result<impl IntoResponse, Failure> {
    Ok(unstored(users.log_in(request, context).await?))
}

async fn refresh(
    State(users): State<Users>,
    Origin(context): Origin,
    Json(request): Json<RefreshToken>,
) -> Result<impl IntoResponse, Failure> {
    Ok(unstored(users.refresh(request, context).await?))
}

async fn log_out(
    State(users): State<Users>,
    Person(caller): Person,
    Origin(context): Origin,
) -> Result<StatusCode, Failure> {
    users.log_out(caller, context).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn sign_in_service(
    State(users): State<Users>,
    Json(request): Json<ServiceSignIn>,
) -> Result<impl IntoResponse, Failure> {
    Ok(unstored(users.sign_in_service(&request).ok_or(Code::NotFound)??))
}

async fn key_set(State(users): State<Users>) -> Result<impl IntoResponse, Failure> {
    let keys = users.ports.keys.jwks().await?;
    Ok((
        [(CACHE_CONTROL, format!("public, max-age={KEY_SET_CACHED_SECONDS}"))],
        Json(keys),
    ))
}

/// Tokens are kept by nobody on the way (RFC 6749, section 5.1).
fn unstored<T: serde::Serialize>(tokens: T) -> impl IntoResponse {
    ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(tokens))
}
